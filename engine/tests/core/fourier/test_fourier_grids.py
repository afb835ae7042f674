import numpy as np
import pytest

from cryodl.core.fourier import grids
from cryodl.errors import ConfigError


@pytest.mark.parametrize("n", [2, 5, 8, 13])
def test_centred_grids_agree_with_a_direct_loop(n):
    radius, rounded = grids.radius_grid_px(n), grids.shell_index(n)
    cut, frequency = grids.shell_index(n, truncate=True), grids.frequency_grid_xyz_px(n)
    for z, y, x in np.ndindex(n, n, n):
        point = np.array([x, y, z]) - n // 2
        length = np.sqrt((point**2).sum())
        assert radius[z, y, x] == pytest.approx(length, rel=1e-6)
        assert rounded[z, y, x] == int(length + 0.5)
        assert cut[z, y, x] == int(length)
        assert (frequency[z, y, x] == point).all()


@pytest.mark.parametrize("n", [2, 7, 8])
def test_half_grids_follow_the_layout_of_rfftn(n):
    axis = np.rint(np.fft.fftfreq(n) * n)
    half_axis = np.rint(np.fft.rfftfreq(n) * n)
    frequency = grids.half_frequency_grid_xyz_px(n)
    assert frequency.shape == (n, n, n // 2 + 1, 3)
    assert (frequency[0, 0, :, 0] == half_axis).all()
    assert (frequency[0, :, 0, 1] == axis).all()
    assert (frequency[:, 0, 0, 2] == axis).all()
    length = np.linalg.norm(frequency, axis=-1)
    np.testing.assert_allclose(grids.half_radius_grid_px(n), length, rtol=1e-6)
    assert (grids.half_shell_index(n) == np.floor(length + 0.5)).all()
    assert (grids.half_shell_index(n, truncate=True) == np.floor(length + 1e-6)).all()


@pytest.mark.parametrize("n", [6, 9])
def test_half_multiplicity_restores_the_counts_of_the_whole_transform(n):
    weight = np.broadcast_to(grids.half_multiplicity(n), (n, n, n // 2 + 1))
    half = np.bincount(grids.half_shell_index(n).ravel(), weights=weight.ravel())
    assert (half == np.bincount(grids.shell_index(n).ravel())).all()


def test_shells_of_a_large_box_are_exact():
    squares = grids.squared_radius_px(61)
    index = grids.shell_index(61).astype(np.int64)
    # r = round(sqrt(s)) for integers s means r^2 - r + 1 <= s <= r^2 + r.
    assert (squares >= np.where(index > 0, index**2 - index + 1, 0)).all()
    assert (squares <= index**2 + index).all()


@pytest.mark.parametrize("n", [1, 0, -4])
def test_too_small_a_box_is_refused(n):
    with pytest.raises(ConfigError, match="box size"):
        grids.radius_grid_px(n)
