"""Headers say that scales of a tensor or a row are not applied, where a format of the unit has such scales."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.rtl.test_emit import rtl


@pytest.mark.parametrize(
    ("args", "has"),
    [
        (("mx-mac", "--format", "nvfp4"), True),
        (("block-dot", "--format", "fp8"), True),
        (("mx-mac", "--format", "mxfp4"), False),
    ],
)
def test_scales_above_the_blocks(tmp_path, args, has):
    done = rtl(*args, "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.v")
    header = " ".join(file.read_text().partition("*/")[0].split())
    assert ("Scales of a tensor or a row" in header and "are not applied" in header) is has


def test_an_own_format_that_the_encoder_lacks_is_told_what_it_lacks(tmp_path):
    path = tmp_path / "fine.yaml"
    path.write_text("{name: fine, element: E3M0, block: 16, scale: e4m3}")
    done = rtl("encoder", "--format", str(path), "-o", str(tmp_path))
    assert done.returncode == 2 and "element E3M0, block 16. Write nvfp4, element: E2M1, or scale: e8m0" in done.stderr
