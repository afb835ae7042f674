"""Stacks of images as other programs read them."""

import mrcfile
import numpy as np
import pytest

from cryodl.core.io.mrc import read_stack
from cryodl.core.io.mrc_stack import write_stack
from cryodl.errors import InputError


def images(number=5, shape=(6, 9)):
    return np.random.default_rng(0).normal(3, 2, (number, *shape)).astype(np.float32)


def write(path, data, **changes):
    announced = {"number": 5, "image_shape": (6, 9), "pixel_size_angstrom": 1.5}
    write_stack(path, iter(data), **{**announced, **changes})


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "stack.mrcs"
    write(path, images())
    np.testing.assert_array_equal(read_stack(path), images())
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        assert mrc.is_image_stack()
        assert mrc.voxel_size.x == pytest.approx(1.5)
        assert mrc.voxel_size.z == pytest.approx(1.5)
        assert mrc.header.dmean == pytest.approx(images().mean(), rel=1e-5)
        assert mrc.header.rms == pytest.approx(images().std(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("stack.mrc", images(), ".mrcs"),
        ("stack.mrcs", images(4), "found 4 images"),
        ("stack.mrcs", images(5, (6, 8)), "image 1"),
        ("stack.mrcs", images() * np.nan, "finite"),
    ],
)
def test_what_is_not_as_announced_leaves_no_file(tmp_path, name, data, word):
    with pytest.raises(InputError, match=word):
        write(tmp_path / name, data)
    assert list(tmp_path.iterdir()) == []
