"""Projections, contrast transfer and back-projection: things land where geometry says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import fft

from cryodl.core.fourier.ctf import ctf_volume
from cryodl.core.fourier.wedge import missing_wedge, tilt_rotations
from cryodl.core.simulation.densities import load_density
from cryodl.core.simulation.imaging import Reconstruction, TiltImaging
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.projection import RowProjector
from cryodl.core.simulation.reconstruction import back_projection_weights
from cryodl.core.simulation.structures import make_structure
from cryodl.core.simulation.tilt_series import (
    Optics,
    TiltScheme,
    contrast_transfer,
    describe_tilt_series,
    electron_wavelength_angstrom,
    radiation_damping,
)
from cryodl.errors import ConfigError, InputError

PLAIN = Optics(None, dose_damping=False, thickness_damping=False)
SHAPES = [((12, 20, 24), "y"), ((13, 21, 25), "y"), ((13, 20, 25), "x")]


def gaussian(shape, centre_xyz, sigma=1.6):
    z, y, x = np.indices(shape)
    square = (x - centre_xyz[0]) ** 2 + (y - centre_xyz[1]) ** 2 + (z - centre_xyz[2]) ** 2
    return np.exp(-square / (2 * sigma**2)).astype(np.float32)


def centre_of_mass(volume):
    weights = volume.astype(np.float64)
    return [np.sum(weights * grid) / weights.sum() for grid in np.indices(volume.shape)][::-1]


def matches(first, second):
    return np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_a_gaussian_lands_where_the_projection_matrix_says(shape, axis):
    angles = np.array([-60.0, -17.0, 0.0, 33.0, 60.0])
    projector = RowProjector(shape, angles, axis, padding_px=2)
    point = np.array([14.3, 9.6, 6.8])
    volume = gaussian(shape, point)
    images = projector.project(volume)
    assert images.shape == (5, *projector.image_shape)
    for image, matrix in zip(images, projector.matrices()):
        x, y, _ = matrix @ [*point, 1.0]
        assert centre_of_mass(image) == pytest.approx([x, y], abs=0.02)
        assert image.sum() == pytest.approx(volume.sum(), rel=1e-3)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_matrices_turn_as_the_rotations_of_the_wedge_do(shape, axis):
    angles = np.array([-40.0, 0.0, 25.0])
    found = RowProjector(shape, angles, axis).matrices()[:, :, :3]
    expected = tilt_rotations(angles, 90.0 if axis == "y" else 0.0)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_back_projection_is_the_transpose(shape, axis):
    rng = np.random.default_rng(0)
    projector = RowProjector(shape, np.array([-50.0, 10.0, 45.0]), axis, padding_px=1)
    volume = rng.standard_normal(shape).astype(np.float32)
    images = rng.standard_normal((3, *projector.image_shape)).astype(np.float32)
    forward = np.vdot(projector.project(volume).astype(np.float64), images)
    back = np.vdot(volume.astype(np.float64), projector.back_project(images))
    assert forward == pytest.approx(back, rel=1e-4)


def test_the_untilted_image_is_the_plain_sum():
    volume = np.random.default_rng(1).standard_normal((6, 16, 18)).astype(np.float32)
    projector = RowProjector((6, 16, 18), np.array([0.0]))
    height, width = projector.image_shape
    window = projector.project(volume)[0][height // 2 - 8 :, width // 2 - 9 :][:16, :18]
    np.testing.assert_allclose(window, volume.sum(axis=0), atol=1e-4)


@pytest.mark.parametrize("kind", ["ramp", "exact"])
@pytest.mark.parametrize("n", [32, 33])
def test_full_tilts_give_the_density_back(kind, n):
    density, pixel = load_density("p97", n)
    structure = make_structure("p97", density)
    scheme = TiltScheme(-88.5, 88.5, 3.0)
    imaging = TiltImaging((n,) * 3, pixel, scheme, PLAIN, Reconstruction(kind))
    found = imaging.reconstruct(imaging.signal_images(structure.density, None), None)
    assert matches(found, density) > 0.97
    scale = np.vdot(found, density) / np.vdot(density, density)
    assert scale == pytest.approx(1.0, abs=0.06)


def test_a_damped_series_reconstructs_in_place_and_unmirrored():
    """Off the centre, without symmetry, with CTF and phase flip: 0.2 px and the right hand."""
    n = 40
    rng = np.random.default_rng(3)
    blobs = [gaussian((n,) * 3, 20 + rng.uniform(-11, 11, 3), 1.8) for _ in range(6)]
    density = sum((1 + i / 3) * blob for i, blob in enumerate(blobs))
    wedge = fft.ifftshift(missing_wedge(n, -60, 60))
    expected = fft.ifftn(fft.fftn(density) * wedge).real
    for optics, least in ((PLAIN, 0.9), (Optics(20000.0), 0.75)):
        imaging = TiltImaging(
            (n,) * 3, 8.0, TiltScheme(), optics, Reconstruction("exact", phase_flip=True)
        )
        defocus = optics.defocus_angstrom
        found = imaging.reconstruct(imaging.signal_images(density, defocus), defocus)
        assert matches(found, expected) > least
        assert matches(found, expected) > matches(found[:, :, ::-1], expected) + 0.2
        assert matches(found, expected) > matches(found[::-1], expected) + 0.2
        # The place is found by correlation, to a fraction of a voxel by a parabola.
        spectrum = fft.fftn(found) * np.conj(fft.fftn(density))
        peak = fft.fftshift(fft.ifftn(spectrum).real)
        assert np.unravel_index(peak.argmax(), peak.shape) == (n // 2,) * 3
        for axis in range(3):
            left, middle, right = (
                peak[tuple(n // 2 + (step if axis == a else 0) for a in range(3))]
                for step in (-1, 0, 1)
            )
            assert abs((left - right) / (2 * (left - 2 * middle + right))) < 0.2


@pytest.mark.parametrize("n", [32, 31])
@pytest.mark.parametrize(("low", "high"), [(-60, 60), (-30, 66)])
@pytest.mark.parametrize("axis", ["y", "x"])
def test_the_missing_wedge_is_empty_and_the_rest_is_not(n, low, high, axis):
    imaging = TiltImaging((n,) * 3, 10.0, TiltScheme(low, high, 2, tilt_axis=axis), PLAIN)
    transfer = imaging.transfer_volume(None)
    seen = missing_wedge(n, low, high, tilt_axis_degrees=90 if axis == "y" else 0, edge_px=0)
    radius = np.sqrt(sum((g - n // 2) ** 2 for g in np.indices((n,) * 3)))
    band = (radius > 5) & (radius < 0.4 * n)
    assert transfer[band & (seen == 1)].mean() > 0.9
    assert abs(transfer[band & (seen == 0)].mean()) < 0.12
    deep = missing_wedge(n, low - 6, high + 6, tilt_axis_degrees=90 if axis == "y" else 0)
    assert np.abs(transfer[band & (deep == 0)]).mean() < 0.06


def test_the_transfer_volume_is_what_happens_to_a_particle():
    density, pixel = load_density("rubisco", 24)
    optics = Optics(25000.0)
    imaging = TiltImaging((24,) * 3, pixel, TiltScheme(), optics)
    seen = imaging.reconstruct(imaging.signal_images(density, 25000.0), 25000.0)
    transfer = imaging.transfer_volume(25000.0)
    told = fft.ifftn(fft.fftn(density) * fft.ifftshift(transfer)).real
    assert matches(seen, told) > 0.97


def test_contrast_transfer_of_known_values():
    optics = Optics()
    assert electron_wavelength_angstrom(300) == pytest.approx(0.019687, rel=1e-3)
    assert electron_wavelength_angstrom(200) == pytest.approx(0.025079, rel=1e-3)
    assert contrast_transfer(np.zeros(1), 20000.0, optics)[0] == pytest.approx(0.07)
    # With neither aberration nor amplitude contrast zeros lie where lambda d s^2 is whole.
    pure = Optics(spherical_aberration_mm=0.0, amplitude_contrast=0.0)
    zero = 1 / np.sqrt(electron_wavelength_angstrom(300) * 20000)
    np.testing.assert_allclose(contrast_transfer(np.array([zero]), 20000.0, pure), 0, atol=1e-9)
    assert contrast_transfer(np.array([zero / 2]), 20000.0, pure)[0] > 0


def test_dose_fades_fine_detail_first():
    coarse, fine = radiation_damping(np.array([0.01, 0.1]), 60.0)
    assert 0 < fine < coarse < 1
    # Grant and Grigorieff: at 0.1 / A the critical dose is 0.245 * 0.1^-1.665 + 2.81.
    assert fine == pytest.approx(np.exp(-30 / (0.245 * 0.1**-1.665 + 2.81)))


def test_orders_of_recording():
    scheme = TiltScheme(-6, 6, 3, dose_per_tilt=2.0)
    np.testing.assert_allclose(scheme.angles_degrees(), [-6, -3, 0, 3, 6])
    np.testing.assert_allclose(scheme.dose_before(), [6, 2, 0, 4, 8])
    up = TiltScheme(-6, 6, 3, order="bidirectional", dose_per_tilt=1.0)
    np.testing.assert_allclose(up.dose_before(), [4, 3, 0, 1, 2])
    along = TiltScheme(-6, 6, 3, order="continuous", dose_per_tilt=1.0)
    np.testing.assert_allclose(along.dose_before(), [0, 1, 2, 3, 4])
    assert len(TiltScheme(-60, 60, 3).angles_degrees()) == 41
    assert TiltScheme(-59.9, 60, 0.1).angles_degrees()[-1] == pytest.approx(60)


def test_the_series_of_the_particle_model():
    projector = RowProjector((8, 16, 20), TiltScheme().angles_degrees())
    series = describe_tilt_series("t1", TiltScheme(), Optics(), 5.0, projector, 31000.0)
    assert series.size_xyz_px == (20, 16, 8)
    assert series.tilt_axis_degrees == 90
    assert (series.defocus_u_angstrom == 31000).all()
    assert series.projections.shape == (41, 3, 4)
    blind = describe_tilt_series("t1", TiltScheme(), PLAIN, 5.0, projector, None)
    assert np.isnan(blind.defocus_u_angstrom).all()


@pytest.mark.parametrize("axis", ["y", "x"])
def test_a_defocus_gradient_follows_the_depth_of_the_specimen(axis):
    """A blob beside the axis of a tilted specimen gets the defocus of its own depth."""
    shape = (8, 24, 64) if axis == "y" else (8, 64, 24)
    point = (56, 12, 4) if axis == "y" else (12, 56, 4)
    volume = gaussian(shape, point, 1.0)
    scheme = TiltScheme(-50, 50, 50, tilt_axis=axis)
    graded = TiltImaging(shape, 20.0, scheme, Optics(15000.0, defocus_gradient=True))
    even = TiltImaging(shape, 20.0, scheme, Optics(15000.0))
    images = graded.signal_images(volume, 15000.0)
    for k, matrix in enumerate(even.projector.matrices()):
        offset = -1 * 20.0 * float(matrix[2] @ [*point, 1.0])  # rlnTomoHand is -1
        right, wrong = (even.signal_images(volume, 15000.0 + s * offset)[k] for s in (1, -1))
        error = np.linalg.norm(images[k] - right)
        if k == 1:
            assert error < 1e-4 * np.linalg.norm(right)
        else:
            assert abs(offset) > 300
            assert error < 0.25 * np.linalg.norm(images[k] - wrong)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_noise_of_unit_variance_in_every_statistics(exponent):
    imaging = TiltImaging((16, 24, 24), 10.0, TiltScheme(), PLAIN)
    rng = np.random.default_rng(0)
    plain = imaging.noise_images(NoiseSettings(exponent=exponent), rng)
    assert plain.var() == pytest.approx(1.0, rel=0.1)
    shot = imaging.noise_images(
        NoiseSettings(exponent=exponent, statistics="poisson"), rng, np.zeros_like(plain), 1.0
    )
    assert shot.var() == pytest.approx(1.0, rel=0.1)


def test_bad_input():
    with pytest.raises(ConfigError, match="tilt angles"):
        RowProjector((4, 4, 4), np.array([]))
    with pytest.raises(ConfigError, match="tilt axis"):
        RowProjector((4, 4, 4), np.array([0.0]), "z")
    with pytest.raises(ConfigError, match="empty axis"):
        RowProjector((0, 4, 4), np.array([0.0]))
    projector = RowProjector((4, 4, 4), np.array([0.0]))
    with pytest.raises(InputError, match="shape"):
        projector.project(np.zeros((4, 4, 5), np.float32))
    with pytest.raises(InputError, match="shape"):
        projector.back_project(np.zeros((2, 4, 5), np.float32))
    with pytest.raises(ConfigError, match="filter"):
        back_projection_weights(projector, "none")
    with pytest.raises(ConfigError, match="tilt range"):
        TiltScheme(20, -20)
    with pytest.raises(ConfigError, match="increment"):
        TiltScheme(increment_degrees=0)
    with pytest.raises(ConfigError, match="dose"):
        TiltScheme(dose_per_tilt=-1)


@pytest.mark.parametrize("axis", ["y", "x"])
def test_the_transfer_agrees_with_the_ctf_volume_that_the_methods_use(axis):
    """Two pieces of code that share nothing: sign, wedge, damping and axis are the same."""
    n, scheme = 32, TiltScheme(-10, 64, 2, tilt_axis=axis)
    imaging = TiltImaging((n,) * 3, 8.0, scheme, Optics(25000.0))
    series = describe_tilt_series("t", scheme, imaging.optics, 8.0, imaging.projector, 25000.0)
    simulated = imaging.transfer_volume(25000.0)
    told = ctf_volume(n, 8.0, series)
    radius = np.sqrt(sum((g - n // 2) ** 2 for g in np.indices((n,) * 3)))
    band = (radius > 3) & (radius < n // 2 - 1)
    assert matches(simulated[band], told[band]) > 0.95
    for sign in (1, -1):
        angles = sign * series.tilt_angles_degrees
        bare = ctf_volume(n, 8.0, replace(series, projections=None, tilt_angles_degrees=angles))
        found = matches(simulated[band], bare[band])
        assert found > 0.95 if sign == 1 else found < 0.7
