import numpy as np
import pytest

from cryodl.core.fourier import grids
from cryodl.core.fourier.filters import sphere
from cryodl.core.fourier.fsc import fourier_shell_correlation, resolution_at
from cryodl.errors import ConfigError, InputError
from cryodl.methods.spisonet import cones, sphericity
from cryodl.methods.spisonet.fsc3d import compute_fsc3d, mean_cosine_of_correlation


def noise(n, seed):
    return np.random.default_rng(seed).normal(size=(n, n, n))


def filtered(volume, centred_weight):
    return np.fft.ifftn(np.fft.fftn(volume) * np.fft.ifftshift(centred_weight)).real


def halves_of(signal, sd=1.0):
    n = signal.shape[0]
    return signal + sd * noise(n, 11), signal + sd * noise(n, 12)


def brute_force(half1, half2, mask, last_shell, angle_degrees, estimator):
    """The definition, voxel by voxel, from the whole centred transforms in double precision."""
    n = half1.shape[0]
    f1, f2 = (np.fft.fftshift(np.fft.fftn((h - h.mean()) / h.std() * mask)) for h in (half1, half2))
    cross, p1, p2 = (f1 * f2.conj()).real, abs(f1) ** 2, abs(f2) ** 2
    out = np.zeros((n, n, n))
    out[n // 2, n // 2, n // 2] = 1
    index = grids.shell_index(n)
    for shell in range(1, last_shell + 1):
        voxels = np.argwhere(index == shell)
        where = tuple(voxels.T)
        terms = [v[where] for v in (cross, p1, p2)]
        chord = 2 * shell * np.sin(np.radians(angle_degrees) / 2)
        for i, p in enumerate(voxels):
            near = ((voxels - p) ** 2).sum(axis=1) <= chord**2 + 1e-6
            c, a, b = (term[near] for term in terms)
            if estimator == "fsc":
                value = c.sum() / np.sqrt(a.sum() * b.sum())
            else:
                value = (c / np.sqrt(a * b)).mean()
            out[where[0][i], where[1][i], where[2][i]] = value
    return out


@pytest.mark.parametrize("n", [23, 24, 25])
@pytest.mark.parametrize("estimator", ["mean-cosine", "fsc"])
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_equals_brute_force(n, estimator, mode):
    half1, half2 = halves_of(noise(n, 1))
    mask = sphere(n, n / 2 - 1, 4)
    last = (n - 1) // 2
    expected = brute_force(half1, half2, mask, last, 20, estimator)
    found = compute_fsc3d(
        half1,
        half2,
        mask,
        1.5,
        limit_resolution_angstrom=3.0,
        cone_half_angle_degrees=20,
        estimator=estimator,
        mode=mode,
    )
    assert found.volume.dtype == np.float32
    assert found.limit_shell == last + 1
    np.testing.assert_allclose(found.volume, expected, atol=1e-5)
    index = grids.shell_index(n)
    for i, shell in enumerate(found.shells.shell):
        inside = expected[index == shell]
        spread = (inside.min(), inside.mean(), inside.max(), inside.std())
        stated = [getattr(found.shells, name)[i] for name in ("minimum", "mean", "maximum", "sd")]
        np.testing.assert_allclose(stated, spread, atol=1e-5)
        threshold = mean_cosine_of_correlation(0.143) if estimator == "mean-cosine" else 0.143
        fraction = (inside < threshold).mean()
        assert found.shells.fraction_below_0143[i] == pytest.approx(fraction, abs=1e-9)


@pytest.mark.parametrize("angle", [10, 45, 90, 180])
def test_equals_brute_force_at_other_angles(angle):
    n = 35
    half1, half2 = halves_of(noise(n, 1))
    expected = brute_force(half1, half2, 1, 17, angle, "mean-cosine")
    found = compute_fsc3d(
        half1, half2, None, 1.0, limit_resolution_angstrom=2, cone_half_angle_degrees=angle
    )
    np.testing.assert_allclose(found.volume, expected, atol=1e-5)


@pytest.mark.parametrize("n", [20, 21])
@pytest.mark.parametrize("estimator", ["mean-cosine", "fsc"])
def test_identical_halves_give_one_up_to_the_limit_and_zero_beyond(n, estimator):
    half = noise(n, 5)
    # Radius n / 4 / 1 px = 5; limit shell = int(5 + 1).
    result = compute_fsc3d(
        half, half, None, 1.0, limit_resolution_angstrom=n / 5.2, estimator=estimator
    )
    index = grids.shell_index(n)
    assert result.limit_shell == 6
    np.testing.assert_allclose(result.volume[index < 6], 1, atol=1e-5)
    assert (result.volume[index >= 6] == 0).all()
    assert result.sphericity == pytest.approx(1, abs=1e-3)
    assert result.resolution_angstrom == pytest.approx(n / (n // 2))


@pytest.mark.parametrize("estimator", ["mean-cosine", "fsc"])
def test_independent_noise_has_mean_zero(estimator):
    n = 32
    result = compute_fsc3d(
        noise(n, 1), noise(n, 2), None, 1.0, limit_resolution_angstrom=2, estimator=estimator
    )
    index = grids.shell_index(n)
    for shell in range(4, 16):
        independent = (index == shell).sum() / 2
        standard_error = np.sqrt(0.5 / independent)
        tolerance = 3 * standard_error * (1.1 if estimator == "mean-cosine" else 1.5)
        assert abs(result.volume[index == shell].mean()) < tolerance
    assert result.resolution_angstrom > 5


@pytest.mark.parametrize(("axis", "name"), [(0, "z"), (1, "y"), (2, "x")])
@pytest.mark.parametrize("n", [40, 41])
def test_missing_cone_is_low_along_its_axis_alone(axis, name, n):
    frequency = grids.frequency_grid_xyz_px(n)
    radius = grids.radius_grid_px(n)
    along = np.abs(frequency[..., "xyz".index(name)])
    cosine = along / np.maximum(radius, 1)
    signal = filtered(noise(n, 3), 5.0 * (cosine < np.cos(np.radians(30))))
    result = compute_fsc3d(*halves_of(signal), None, 1.0, limit_resolution_angstrom=2.2)
    shell = (radius > 8) & (radius < 16)
    inside = result.volume[shell & (cosine > np.cos(np.radians(18)))]
    outside = result.volume[shell & (cosine < np.cos(np.radians(42)))]
    assert abs(inside.mean()) < 0.1
    assert outside.mean() > 0.9
    # By array axis too, in case the grid itself were wrong.
    on_axis = [n // 2] * 3
    on_axis[axis] += 13
    assert result.volume[tuple(on_axis)] < 0.5
    assert result.sphericity < 0.8
    assert result.worst_resolution_angstrom > 2 * result.best_resolution_angstrom
    other = [n // 2] * 3
    other[(axis + 1) % 3] += 13
    assert result.volume[tuple(other)] > 0.7


@pytest.mark.parametrize("n", [26, 27])
def test_friedel_symmetry_and_exchange_of_halves(n):
    half1, half2 = halves_of(noise(n, 4))
    first = compute_fsc3d(half1, half2, None, 1.0, limit_resolution_angstrom=2.1).volume
    second = compute_fsc3d(half2, half1, None, 1.0, limit_resolution_angstrom=2.1).volume
    np.testing.assert_allclose(first, second, atol=1e-6)
    odd = first if n % 2 else first[1:, 1:, 1:]
    np.testing.assert_allclose(odd, odd[::-1, ::-1, ::-1], atol=1e-6)


def test_turning_the_maps_turns_the_volume():
    half1, half2 = halves_of(noise(21, 4))
    plain = compute_fsc3d(half1, half2, None, 1.0, limit_resolution_angstrom=2.2)
    turned = compute_fsc3d(
        half1.transpose(2, 0, 1), half2.transpose(2, 0, 1), None, 1.0, limit_resolution_angstrom=2.2
    )
    np.testing.assert_allclose(turned.volume, plain.volume.transpose(2, 0, 1), atol=1e-5)
    assert turned.sphericity == pytest.approx(plain.sphericity, abs=0.02)


def test_modes_agree_in_a_larger_box():
    half1, half2 = halves_of(noise(64, 4))
    fast, exact = (
        compute_fsc3d(half1, half2, None, 1.0, limit_resolution_angstrom=2, mode=mode)
        for mode in ("fast", "exact")
    )
    np.testing.assert_allclose(fast.volume, exact.volume, atol=1e-5)


def test_global_curve_resolution_and_default_limit():
    n, pixel = 48, 1.2
    weight = 3 * np.exp(-((grids.radius_grid_px(n) / 8) ** 2))
    half1, half2 = halves_of(filtered(noise(n, 9), weight))
    result = compute_fsc3d(half1, half2, None, pixel)
    curve = fourier_shell_correlation(half1, half2)
    np.testing.assert_allclose(result.global_fsc[1:], curve[1:], atol=1e-5)
    assert result.resolution_angstrom == pytest.approx(resolution_at(curve, 0.143, n, pixel))
    # The published rule, from scratch.
    f1, f2 = (np.fft.fftshift(np.fft.fftn(h - h.mean())) for h in (half1, half2))
    f1[n // 2, n // 2, n // 2] = f2[n // 2, n // 2, n // 2] = 1
    cosine = (f1 * f2.conj()).real / abs(f1 * f2)
    index = grids.shell_index(n, truncate=True)
    below = next(i for i in range(n // 2) if cosine[index == i].mean() < 0.143)
    assert 6 < below < n // 2 - 2
    assert result.limit_resolution_angstrom == pytest.approx(n * pixel / (below + 1))
    assert result.limit_shell == below + 2
    assert len(result.table()) == below + 1
    assert result.sphericity > 0.95


def test_keep_high_resolution_is_one_beyond_the_limit():
    n = 24
    result = compute_fsc3d(
        noise(n, 1),
        noise(n, 2),
        None,
        1.0,
        limit_resolution_angstrom=4,
        keep_high_resolution=True,
    )
    index = grids.shell_index(n)
    assert result.limit_shell == 7
    assert (result.volume[index >= 5] == 1).all()
    assert result.volume[index == 1].max() < 1


@pytest.mark.parametrize("estimator", ["mean-cosine", "fsc"])
def test_transform_without_signal_counts_as_zero(estimator):
    n = 16
    # Constant along x, so that the transform is exactly 0 off the plane x = 0.
    flat = np.repeat(noise(n, 1)[:, :, :1], n, axis=2)
    result = compute_fsc3d(flat, flat, None, 1.0, limit_resolution_angstrom=2, estimator=estimator)
    middle = n // 2
    assert (result.volume[middle, middle, middle + 3 : n - 1] == 0).all()
    # The cone there holds five voxels, of which two lie off the plane.
    expected = {"mean-cosine": 0.6, "fsc": 1}[estimator]
    assert result.volume[middle, middle + 6, middle] == pytest.approx(expected, abs=1e-5)


def test_mean_cosine_of_a_known_correlation():
    rng = np.random.default_rng(0)
    size, correlation = 400_000, 0.5
    a, b, shared = (rng.normal(size=size) + 1j * rng.normal(size=size) for _ in range(3))
    first = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * a
    second = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * b
    measured = np.cos(np.angle(first * second.conj())).mean()
    assert mean_cosine_of_correlation(correlation) == pytest.approx(measured, abs=0.004)
    assert mean_cosine_of_correlation(0) == 0
    assert mean_cosine_of_correlation(1) == pytest.approx(1)


def test_sphericity_of_an_ellipsoid():
    # Prolate spheroid with axes 1, 1, 2: the area is known in closed form.
    unit = sphericity.directions_xyz()
    radii = 1 / np.sqrt(unit[:, 0] ** 2 + unit[:, 1] ** 2 + (unit[:, 2] / 2) ** 2)
    eccentricity = np.sqrt(1 - 1 / 4)
    area = 2 * np.pi * (1 + 2 / eccentricity * np.arcsin(eccentricity))
    volume = 4 / 3 * np.pi * 2
    expected = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
    assert sphericity.sphericity_of(radii) == pytest.approx(expected, abs=2e-3)
    assert sphericity.sphericity_of(np.full(len(unit), 3.0)) == pytest.approx(1)


def test_progress_ends_at_one():
    seen = []
    half = noise(16, 1)
    compute_fsc3d(half, half, None, 1.0, limit_resolution_angstrom=2.5, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(seen) == 6


def test_bad_input_is_refused():
    n = 16
    good = noise(n, 1)
    with pytest.raises(InputError, match="half map 2: box"):
        compute_fsc3d(good, noise(17, 1), None, 1.0)
    with pytest.raises(InputError, match="mask: box"):
        compute_fsc3d(good, good, np.ones((8, 8, 8)), 1.0)
    with pytest.raises(InputError, match="mask: is empty"):
        compute_fsc3d(good, good, np.zeros_like(good), 1.0)
    with pytest.raises(InputError, match="half map 2: standard deviation"):
        compute_fsc3d(good, np.full_like(good, 3), None, 1.0)
    with pytest.raises(InputError, match="half map 1: standard deviation"):
        compute_fsc3d(np.where(good > 2, np.nan, good), good, None, 1.0)
    with pytest.raises(InputError, match="cubic"):
        compute_fsc3d(good[:8], good[:8], None, 1.0)


@pytest.mark.parametrize("angle", [0, -5, 181, float("nan")])
def test_bad_angles_are_refused(angle):
    with pytest.raises(ConfigError, match="cone half-angle"):
        compute_fsc3d(noise(16, 1), noise(16, 2), None, 1.0, cone_half_angle_degrees=angle)


@pytest.mark.parametrize("limit", [1.99, 17, 0, -3])
def test_limits_outside_the_box_are_refused(limit):
    with pytest.raises(ConfigError, match="resolution"):
        compute_fsc3d(noise(16, 1), noise(16, 2), None, 1.0, limit_resolution_angstrom=limit)


def test_unknown_settings_are_refused():
    half = noise(16, 1)
    with pytest.raises(ConfigError, match="estimator"):
        compute_fsc3d(half, half, None, 1.0, estimator="median")
    with pytest.raises(ConfigError, match="mode"):
        compute_fsc3d(half, half, None, 1.0, mode="slow")
    with pytest.raises(ConfigError, match="last shell"):
        next(cones.iterate_cones([np.zeros((16, 16, 16), np.float32)], 8, 10))
