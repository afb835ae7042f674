"""Simulated single-particle images: views, poses, contrast transfer and noise as told."""

import numpy as np
import pytest

from cryodl.core.geometry.rotations import rotate_volume
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.particles import ImageSettings, ImageSimulator
from cryodl.core.simulation.tilt_series import Optics
from cryodl.errors import ConfigError

SILENT = NoiseSettings("none")
NO_CTF = Optics(None)


def lumps(n=21):
    rng = np.random.default_rng(1)
    grid = np.indices((n, n, n))
    centres = n // 2 + rng.uniform(-0.2 * n, 0.2 * n, (5, 3))
    return sum(
        (1 + i / 2) * np.exp(-sum((g - c) ** 2 for g, c in zip(grid, centre)) / 4)
        for i, centre in enumerate(centres)
    ).astype(np.float32)


def simulator(seed=0, **changes):
    values = {"number": 12, "box_size_px": 32, "noise": SILENT, "optics": NO_CTF}
    return ImageSimulator(ImageSettings(**{**values, **changes}), seed, [lumps()])


def matches(first, second):
    return np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]


@pytest.mark.parametrize("n", [32, 33])
def test_an_image_is_the_projection_along_z_of_the_posed_particle(n):
    made = simulator(box_size_px=n)
    padding = n // 2 - 10
    padded = np.pad(lumps(), (padding, n - 21 - padding))
    for index in range(4):
        posed = rotate_volume(
            padded, made.rotations[index], translation_px=-made.shifts_px[index], order=3
        )
        assert matches(made.image(index), posed.sum(axis=0)) > 0.999


def test_contrast_transfer_differs_between_micrographs_and_flips_nothing_at_low_frequency():
    made = simulator(optics=Optics(15000.0), per_micrograph=4)
    assert made.micrographs.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len(set(made.defocus_angstrom)) == 3
    assert (np.abs(made.defocus_angstrom - 15000) <= 5000).all()
    sharp = simulator()
    assert matches(made.clean(0), sharp.clean(0)) > 0.2


def test_preferred_views_lie_about_the_axis():
    preferred = simulator(
        number=400, views="top", view_spread_degrees=10, uniform_fraction=0.1, axis_xyz=(1, 0, 0)
    )
    # A brings the direction of view to z, so its last row is that direction.
    away = np.degrees(np.arccos(preferred.rotations[:, 2, 0]))
    assert np.mean(away < 35) == pytest.approx(0.9, abs=0.05)
    anywhere = simulator(number=400)
    assert np.abs(anywhere.rotations[:, 2].mean(axis=0)).max() < 0.1
    assert np.allclose(np.linalg.det(anywhere.rotations), 1)
    assert np.abs(anywhere.rotations.mean(axis=0)).max() < 0.12


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_the_snr_is_as_asked(exponent):
    made = simulator(number=40, noise=NoiseSettings(snr=0.05, exponent=exponent))
    images = np.stack(list(made))
    assert made.measured_snr() == pytest.approx(0.05, rel=0.1)
    assert images.std() == pytest.approx(1.0, rel=0.1)


def test_same_seed_same_bytes():
    noise = NoiseSettings(snr=0.1)
    first, again = (np.stack(list(simulator(3, noise=noise))) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert simulator(3, noise=noise).image(5).tobytes() == first[5].tobytes()
    assert not np.allclose(simulator(4, noise=noise).image(5), first[5])


def test_dark_is_the_negative():
    bright, dark = simulator().image(0), simulator(contrast="dark", intensity_offset=2.0).image(0)
    np.testing.assert_allclose(dark, 2 - bright, atol=1e-4)


def test_shifts_stay_in_the_plane():
    made = simulator(known_poses="perturbed")
    assert not made.shifts_px[:, 2].any()
    assert not made.known_shifts_px[:, 2].any()
    assert np.abs(made.known_shifts_px - made.shifts_px).max() > 0.1


def test_bad_input():
    with pytest.raises(ConfigError, match="smooth"):
        simulator(noise=NoiseSettings("smooth"))
    with pytest.raises(ConfigError, match="found 0 images"):
        simulator(number=0)
    with pytest.raises(ConfigError, match="views"):
        simulator(views="behind")
