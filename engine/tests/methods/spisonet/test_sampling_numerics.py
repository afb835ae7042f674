import numpy as np
import pytest

from cryodl.core.fourier import grids
from cryodl.errors import ConfigError, InputError
from cryodl.methods.spisonet.sampling import (
    SLICE_HALF_THICKNESS,
    compute_sampling,
    view_directions_xyz,
)


def density(rot, tilt, n=48, **options):
    return compute_sampling(rot, tilt, box_size_px=n, pixel_size_angstrom=1.0, **options)


def even_views(count):
    rng = np.random.default_rng(0)
    return rng.uniform(-180, 180, count), np.degrees(np.arccos(rng.uniform(-1, 1, count)))


def test_view_direction_is_the_third_row_of_the_relion_matrix():
    # A(30, 50, 70) of RELION ends in this row.
    found = view_directions_xyz([30, 10], [50, 0])
    np.testing.assert_allclose(found, [[0.663414, 0.383022, 0.642788], [0, 0, 1]], atol=1e-6)


@pytest.mark.parametrize("n", [48, 49])
@pytest.mark.parametrize(("rot", "tilt"), [(0, 0), (0, 90), (90, 90), (25, 70), (-130, 40)])
def test_one_view_gives_its_central_slice(rot, tilt, n):
    volume = density([rot], [tilt], n)
    view = view_directions_xyz([rot], [tilt])[0]
    frequency, radius = grids.frequency_grid_xyz_px(n), grids.radius_grid_px(n)
    distance = np.abs(frequency @ view)
    thickness = SLICE_HALF_THICKNESS * n / 2
    # Cells are 1.5 degrees wide.
    blur = np.radians(1.5) * radius
    whole = (radius > 4) & (grids.shell_index(n) <= n // 2)
    assert (volume[whole & (distance < thickness - blur)] == 1).all()
    assert (volume[whole & (distance > thickness + blur)] == 0).all()
    along = np.rint(view * 18).astype(int) + n // 2
    assert volume[along[2], along[1], along[0]] == 0


def test_axes_are_z_y_x():
    n = 48
    volume, middle = density([0], [90], n), n // 2
    # Seen along x: sampled along z and y, not along x, the last array axis.
    assert volume[middle, middle, middle + 15] == 0
    assert volume[middle, middle + 15, middle] == 1
    assert volume[middle + 15, middle, middle] == 1


def test_psi_free_opposite_views_give_the_same():
    rot, tilt = np.array([20.0, 75.0]), np.array([50.0, 110.0])
    np.testing.assert_allclose(density(rot + 180, 180 - tilt), density(rot, tilt), atol=1e-5)


def test_even_views_are_flat():
    n = 48
    volume = density(*even_views(20_000), n)
    index = grids.shell_index(n)
    inside = volume[(index > 2) & (index <= n // 2)]
    assert inside.min() > 0.6
    assert inside.std() < 0.07
    assert (volume[index > n // 2] == 0).all()


@pytest.mark.parametrize("n", [32, 33])
def test_friedel_symmetry_and_range(n):
    rng = np.random.default_rng(1)
    volume = density(rng.uniform(-180, 180, 300), rng.normal(90, 10, 300), n)
    odd = volume if n % 2 else volume[1:, 1:, 1:]
    np.testing.assert_array_equal(odd, odd[::-1, ::-1, ::-1])
    assert volume.min() >= 0
    assert volume.max() == 1
    assert volume.dtype == np.float32
    # Side views tile z, the axis common to their slices, most densely.
    middle = n // 2
    assert volume[middle + 13, middle, middle] > 2 * volume[middle, middle, middle + 13]


def test_resolution_limits():
    n = 40
    volume = density([10], [20], n, low_resolution_angstrom=8, high_resolution_angstrom=4)
    index = grids.shell_index(n)
    assert (volume[index < 5] == 1).all()
    assert (volume[index > 10] == 0).all()
    assert volume[index == 10].max() == 1
    assert volume[index == 10].min() == 0


def test_symmetry_copies_the_views():
    one = density([0.0, 120, 240], [60, 60, 60])
    np.testing.assert_allclose(density([0.0], [60], symmetry="C3"), one, atol=1e-5)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="views"):
        density([], [])
    with pytest.raises(InputError, match="views"):
        density([1, 2], [3])
    with pytest.raises(InputError, match="not finite"):
        density([1, np.nan], [3, 4])
    with pytest.raises(ConfigError, match="symmetry"):
        density([1], [2], symmetry="X3")
    with pytest.raises(ConfigError, match="symmetry"):
        density([1], [2], symmetry="C0")
    with pytest.raises(ConfigError, match="band"):
        density([1], [2], low_resolution_angstrom=3, high_resolution_angstrom=4)
