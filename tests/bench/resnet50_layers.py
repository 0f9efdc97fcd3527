"""The convolutions of ResNet-50 for peers that read no network: of this file's own, as they import no hwsim."""


def layers():
    """(side with padding, kernel, channels, filters, stride) of ResNet-50's convolutions (He et al., CVPR 2016)."""
    found = [(230, 7, 3, 64, 2)]
    given = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            side = 56 >> stage
            before = side * stride
            found.append((before, 1, given, width, 1))
            found.append((before + 2, 3, width, width, stride))
            found.append((side, 1, width, 4 * width, 1))
            if not block:
                found.append((before, 1, given, 4 * width, stride))
            given = 4 * width
    return found
