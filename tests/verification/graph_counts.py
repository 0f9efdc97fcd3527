"""Counts of graph workloads from published formulas and layer tables; imports nothing of hwsim.

Each entry of `COUNTS` is (parameters, multiply-adds of one sample) of a shipped graph, computed here from the shapes
that the papers and PyTorch Geometric's examples state. `python -m tests.verification.graph_counts` prints them beside
the published totals. Convolutions count their padding, as published counts do; a bias is no multiply-add.
"""

from __future__ import annotations

from math import ceil


def linear(k: int, n: int, rows: int = 1, bias: bool = True) -> tuple[int, int]:
    """(parameters, multiply-adds) of a linear layer on `rows` rows."""
    return k * n + (n if bias else 0), rows * k * n


def mlp(rows: int, *widths: int) -> tuple[int, int]:
    """Linear layers with biases, one after the other."""
    return total(*(linear(k, n, rows) for k, n in zip(widths, widths[1:], strict=False)))


def conv(c: int, n: int, kernel: int, places: int, groups: int = 1, norm: bool = True) -> tuple[int, int]:
    """A convolution without bias, and the gain and shift of its batch norm."""
    weights = kernel * c // groups * n
    return weights + (2 * n if norm else 0), weights * places


def total(*counts: tuple[int, int]) -> tuple[int, int]:
    """Sums."""
    return sum(p for p, _ in counts), sum(m for _, m in counts)


def times(n: int, count: tuple[int, int]) -> tuple[int, int]:
    """`n` equal parts."""
    return n * count[0], n * count[1]


def resnet50() -> tuple[int, int]:
    """He et al., table 1; the stride is in the 3 x 3 convolution."""
    found, c = [conv(3, 64, 49, 112**2)], 64
    for width, blocks, side, stride in ((64, 3, 56, 1), (128, 4, 28, 2), (256, 6, 14, 2), (512, 3, 7, 2)):
        n = 4 * width
        for block in range(blocks):
            first = (side * stride) ** 2 if not block else side**2
            found += [conv(c, width, 1, first), conv(width, width, 9, side**2), conv(width, n, 1, side**2)]
            if not block:
                found.append(conv(c, n, 1, side**2))
            c = n
    return total(*found, linear(2048, 1000))


def mobilenet_v2() -> tuple[int, int]:
    """Sandler et al., table 2."""
    found, c, side = [conv(3, 32, 9, 112**2)], 32, 112
    for t, n, blocks, s in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(blocks):
            inner, out = t * c, side // (s if not block else 1)
            found += [conv(c, inner, 1, side**2)] if t > 1 else []
            found += [conv(inner, inner, 9, out**2, inner), conv(inner, n, 1, out**2)]
            c, side = n, out
    return total(*found, conv(320, 1280, 1, 49), linear(1280, 1000))


def encoder(n: int, layers: int, h: int = 768, inner: int = 3072) -> tuple[int, int]:
    """Layers of attention and MLP with biases and two norms."""
    attention = 4 * (h * h + h), n * 4 * h * h + 2 * n * n * h
    return times(layers, total(attention, mlp(n, h, inner, h), (4 * h, 0)))


def vit_b16() -> tuple[int, int]:
    """Dosovitskiy et al., table 1; 196 patches and a class token."""
    patches = linear(3 * 16 * 16, 768, 196)
    return total(patches, (768 + 197 * 768, 0), encoder(197, 12), (2 * 768, 0), linear(768, 1000))


def bert_base(n: int = 384) -> tuple[int, int]:
    """Devlin et al.; words, segments, positions, a norm; two outputs per token."""
    return total(((30522 + 2 + 512) * 768 + 2 * 768, 0), encoder(n, 12), linear(768, 2, n))


def whisper_encoder(n: int = 1500, h: int = 1280) -> tuple[int, int]:
    """Radford et al., large-v3: two convolutions of 3 taps, positions, layers whose K has no bias, a norm."""
    taps = total(conv(128, h, 3, 2 * n, norm=False), conv(h, h, 3, n, norm=False), (2 * h, 0))
    return total(taps, (n * h, 0), encoder(n, 32, h, 4 * h), (-32 * h, 0), (2 * h, 0))


DLRM_ROWS = (
    40000000, 39060, 17295, 7424, 20265, 3, 7122, 1543, 63, 40000000, 3067956, 405282, 10, 2209, 11938, 155, 4, 976, 14,
    40000000, 40000000, 40000000, 590152, 12973, 108, 36,
)  # fmt: skip
DLRM_HOT = (3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1)


def dlrm_v1() -> tuple[int, int]:
    """Naumov et al.: 27 vectors of 128, products of all pairs."""
    tables, pairs = (sum(DLRM_ROWS) * 128, 0), 27 * 26 // 2
    return total(tables, mlp(1, 13, 512, 256, 128), (0, pairs * 128), mlp(1, 128 + pairs, 1024, 1024, 512, 256, 1))


def dlrm_v2() -> tuple[int, int]:
    """DCNv2: three cross layers of rank 512 on 27 x 128."""
    tables, width = (sum(DLRM_ROWS) * 128, 0), 27 * 128
    cross = times(3, total(linear(width, 512, bias=False), linear(512, width)))
    return total(tables, mlp(1, 13, 512, 256, 128), cross, mlp(1, width, 1024, 1024, 512, 256, 1))


def dgcnn(n: int = 1024, k: int = 20) -> tuple[int, int]:
    """EdgeConv 6-64-64-64 and 128-128, distances in 3 and 64 dimensions, 192-1024, 1024-512-256-10."""
    return total(
        (0, n * n * (3 + 64)),
        mlp(n * k, 6, 64, 64, 64),
        mlp(n * k, 128, 128),
        linear(192, 1024, n),
        mlp(1, 1024, 512, 256, 10),
    )


def pointnet2() -> tuple[int, int]:
    """512 and 128 centres of 64 neighbours."""
    return total(
        (0, 512 * 1024 * 3 + 128 * 512 * 3),
        mlp(512 * 64, 3, 64, 64, 128),
        mlp(128 * 64, 131, 128, 128, 256),
        mlp(128, 259, 256, 512, 1024),
        mlp(1, 1024, 512, 256, 10),
    )


def sage(n: int, k: int, out: int) -> tuple[int, int]:
    """Two linear layers, one with a bias."""
    return 2 * k * out + out, 2 * n * k * out


def sortpool(n: int = 39, d: int = 64, k: int = 30) -> tuple[int, int]:
    """Four SAGE layers, convolution of width 5 over the k first nodes, two linear layers."""
    width = k - 4
    pool = linear(5 * d, 32, width)
    return total(sage(n, 3, d), times(3, sage(n, d, d)), pool, linear(32 * width, d), linear(d, 2))


def diffpool(n: int = 284, f: int = 89, d: int = 64) -> tuple[int, int]:
    """Blocks of two dense SAGE layers (A X first) and a linear layer on both."""
    c = ceil(n / 4)

    def block(rows: int, k: int, out: int) -> tuple[int, int]:
        dense = (0, rows * rows * (k + d))
        return total(dense, sage(rows, k, d), sage(rows, d, out), linear(d + out, out, rows))

    pooling = (0, n * d * c + n * n * c + n * c * c)
    return total(block(n, f, c), block(n, f, d), pooling, block(c, d, d), linear(2 * d, d), linear(d, 2))


def lfds(kind: str, n: int = 1024, d: int = 64, m: int = 64, w: int = 3, layers: int = 2) -> tuple[int, int]:
    """Local 3-64-64, assignment to m sites, `layers` latent layers, 64-40 behind a hidden layer."""
    scores = (0, 0) if kind == "sequence" else linear(d, m, n, bias=False)
    soft = (0, n * m * d) if kind == "graph" else (0, 0)
    taps = {"loop": w, "sequence": w, "image": w * w, "graph": 1}[kind]
    near = (0, m * m * d) if kind == "graph" else (0, 0)
    latent = times(layers, linear(taps * d, d, m))
    return total(mlp(n, 3, 64, d), scores, soft, near, latent, mlp(1, d, d, 40))


COUNTS = {
    "resnet50": resnet50(),
    "mobilenet-v2": mobilenet_v2(),
    "vit-b16": vit_b16(),
    "bert-base": bert_base(),
    "whisper-large-v3-encoder": whisper_encoder(),
    "dlrm-v1": dlrm_v1(),
    "dlrm-v2": dlrm_v2(),
    "dgcnn": dgcnn(),
    "pointnet2": pointnet2(),
    "sortpool-proteins": sortpool(),
    "diffpool-dd": diffpool(),
    **{f"lfds-{kind}": lfds(kind) for kind in ("loop", "sequence", "image", "graph")},
}

#: Published totals: (parameters, multiply-adds; None: not published, or of another input), and where.
PUBLISHED = {
    "resnet50": (25_557_032, 4.09e9, "torchvision.models.resnet50"),
    "mobilenet-v2": (3_504_872, 0.30e9, "torchvision.models.mobilenet_v2"),
    "vit-b16": (86_567_656, 17.56e9, "torchvision.models.vit_b_16"),
    "whisper-large-v3-encoder": (1_543_490_560 - 906_521_600, None, "openai/whisper-large-v3 without its decoder"),
    "bert-base": (108_891_648 + 1_538, None, "google-bert/bert-base-uncased without pooler; SQuAD's outputs"),
}


def aggregation(n: int, d: int = 64, m: int = 64, w: int = 3, layers: int = 2, k: int = 30) -> dict[str, int]:
    """Multiply-adds of the aggregation alone, by method."""
    c = ceil(n / 4)
    loop = layers * w * m * d * d
    return {
        "sortpool": (k - 4) * 5 * d * 32 + 32 * (k - 4) * d,
        "diffpool": 2 * n * n * d + 2 * n * d * c + n * n * c + n * c * c,
        "loop soft": 2 * n * m * d + loop,
        "loop hard": n * m * d + loop,
        "image soft": 2 * n * m * d + layers * w * w * m * d * d,
    }


def main() -> None:
    """Print every count beside what is published."""
    print(f"{'graph':<20} {'parameters':>18} {'published':>14} {'MACs per sample':>18} {'published':>14}")
    for name, (parameters, macs) in COUNTS.items():
        p, m, _ = PUBLISHED.get(name, (None, None, ""))
        shown = f"{p:,}" if p else "-", f"{m:.4g}" if m else "-"
        print(f"{name:<20} {parameters:>18,} {shown[0]:>14} {macs:>18,} {shown[1]:>14}")
    print(f"DLRM: {sum(DLRM_ROWS):,} rows, {sum(DLRM_ROWS) * 512 / 1e9:.2f} GB in FP32, {sum(DLRM_HOT)} indices (v2)")
    for n in (39, 284, 1024, 5748):
        print(n, {name: f"{macs / 1e6:,.2f} M" for name, macs in aggregation(n).items()})


if __name__ == "__main__":
    main()
