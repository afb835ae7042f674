import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodl.core.volumes.boxes import border_mean, crop_back, fourier_resample, pad_to_cube
from cryodl.errors import InputError


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3), extra=st.integers(0, 4))
def test_padding_is_undone_exactly_and_keeps_the_centre(shape, extra):
    volume, edge = noise(shape), max(shape) + extra
    cube = pad_to_cube(volume, edge)
    assert cube.shape == (edge,) * 3
    assert cube[edge // 2, edge // 2, edge // 2] == volume[tuple(n // 2 for n in shape)]
    np.testing.assert_array_equal(crop_back(cube, shape), volume)


def test_padding_makes_no_step():
    volume = np.full((4, 6, 8), 3.0, np.float32)
    volume[2, 3, 4] = 100
    cube = pad_to_cube(volume)
    assert cube[0, 0, 0] == 3
    assert border_mean(volume) == 3
    assert pad_to_cube(volume, 9, fill=-1)[0, 0, 0] == -1


def test_a_crop_is_a_copy():
    cube = noise((6, 6, 6))
    crop_back(cube, (3, 3, 3))[:] = 0
    assert cube.all()


def test_boxes_that_do_not_fit():
    with pytest.raises(InputError, match="expected at least 8 px for a volume of 8x6x4"):
        pad_to_cube(noise((4, 6, 8)), 7)
    for shape in ((4, 4, 7), (4, 4), (0, 4, 4)):
        with pytest.raises(InputError, match="box to crop to"):
            crop_back(noise((6, 6, 6)), shape)
    with pytest.raises(InputError, match="three axes"):
        pad_to_cube(noise((4, 4)))
    with pytest.raises(InputError, match="expected a cube"):
        fourier_resample(noise((4, 4, 5)), 8)
    with pytest.raises(InputError, match="positive number"):
        fourier_resample(noise((4, 4, 4)), 0)


SIZES = [(16, 24), (16, 25), (15, 24), (15, 25), (24, 16), (25, 16), (24, 15), (25, 15), (16, 16)]


def blob(n, box_angstrom, at_angstrom, sigma_angstrom):
    """Sample a Gaussian at x, y, z from the centre voxel."""
    axis = (np.arange(n) - n // 2) * (box_angstrom / n)
    x0, y0, z0 = at_angstrom
    one = [np.exp(-((axis - c) ** 2) / (2 * sigma_angstrom**2)) for c in (z0, y0, x0)]
    return np.einsum("i,j,k->ijk", *one).astype(np.float32)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_resampling_gives_the_same_object_on_the_other_grid(old, new):
    box, at, sigma = 48.0, (5.0, -4.0, 3.0), 5.0
    result = fourier_resample(blob(old, box, at, sigma), new)
    assert result.shape == (new,) * 3 and result.dtype == np.float32
    np.testing.assert_allclose(result, blob(new, box, at, sigma), atol=2e-3)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_resampling_keeps_mean_and_centre_voxel(old, new):
    volume = noise((old,) * 3) + 2
    result = fourier_resample(volume, new)
    assert result.mean() == pytest.approx(volume.mean(), rel=1e-5)
    point = np.zeros((old,) * 3, np.float32)
    point[old // 2, old // 2, old // 2] = 1
    peak = fourier_resample(point, new)
    assert np.unravel_index(peak.argmax(), peak.shape) == (new // 2,) * 3


@pytest.mark.parametrize(("old", "new"), [(8, 12), (8, 13), (9, 12), (9, 13), (8, 9)])
def test_enlarging_and_shrinking_gives_the_volume_back(old, new):
    volume = noise((old,) * 3)
    back = fourier_resample(fourier_resample(volume, new), old)
    np.testing.assert_allclose(back, volume, atol=1e-5)
