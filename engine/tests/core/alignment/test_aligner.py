"""Known poses are found again, through wedges, with symmetry, against maps and particles."""

import numpy as np
import pytest
import torch

from cryodl.core.alignment.aligner import Aligner
from cryodl.core.alignment.reference import MapReference, ParticleReference
from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.alignment.spectra import FourierPoints, observe, spectral_snr
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import (
    angular_distance_degrees,
    random_rotations,
    rotate_volume,
)
from cryodl.core.geometry.symmetry import symmetrise
from cryodl.errors import ConfigError, InputError

N = 24
QUICK = SearchSettings(rotations=1152, max_shift_px=3, candidates=6)


def phantom(seed=3, n=N):
    """Return an asymmetric assembly of blobs."""
    rng = np.random.default_rng(seed)
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((n, n, n))
    for centre in rng.uniform(-n / 5, n / 5, (14, 3)):
        d2 = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
        volume += rng.uniform(0.5, 1.5) * np.exp(-d2 / (2 * 1.3**2))
    return volume.astype(np.float32)


def particles(reference, count, snr, seed=0, max_shift=2.5, wedge=None):
    rng = np.random.default_rng(seed)
    n = reference.shape[0]
    rotations, shifts = random_rotations(count, rng), rng.uniform(-max_shift, max_shift, (count, 3))
    axis = np.arange(n) - n // 2
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < (0.4 * n) ** 2
    deviation = np.sqrt(reference[inside].var() / snr)
    volumes = []
    for rotation, shift in zip(rotations, shifts):
        moved = rotate_volume(reference, rotation, translation_px=-shift, order=3)
        noisy = moved + deviation * rng.standard_normal(moved.shape)
        volumes.append(noisy if wedge is None else apply_transfer(noisy, wedge))
    return np.stack(volumes).astype(np.float32), rotations, shifts


@pytest.mark.parametrize("mode", ["exhaustive", "auto"])
def test_noisy_particles_with_a_wedge_are_found(mode):
    reference, wedge = phantom(), missing_wedge(N, -60, 60)
    volumes, rotations, shifts = particles(reference, 8, 0.2, wedge=wedge)
    points = FourierPoints(N, N // 2 - 1)
    aligner = Aligner(MapReference(reference, points), QUICK)
    found = aligner.align(observe(points, volumes, wedge), mode)
    error = angular_distance_degrees(found.rotations, rotations)
    assert np.median(error) < 4 and error.max() < 12
    assert np.median(np.abs(found.shifts_px - shifts)) < 0.4
    assert (found.confidence > 0.9).mean() > 0.8
    # The deviation that is told is that of the errors: sqrt(3) of it makes an angle.
    assert 0.3 < np.median(error) / (1.7 * np.median(found.spread_degrees)) < 2


def test_the_level_of_a_reference_does_not_matter():
    """A level beyond zero is no structure: it must not turn the box into a cube."""
    reference, wedge = phantom(), missing_wedge(N, -60, 60)
    points, upright = FourierPoints(N, N // 2 - 1), torch.eye(3)[None]
    raised = reference + 5 * reference.std()
    first, second = (
        MapReference(density, points).turned(upright, len(points))
        for density in (reference, raised)
    )
    torch.testing.assert_close(second, first, rtol=1e-3, atol=1e-3 * float(first.abs().max()))
    volumes, rotations, _ = particles(reference, 4, 0.5, wedge=wedge)
    found = Aligner(MapReference(raised, points), QUICK).align(observe(points, volumes, wedge))
    assert angular_distance_degrees(found.rotations, rotations).max() < 6


def test_clean_particles_are_found_to_a_fraction_of_a_degree():
    reference = phantom()
    volumes, rotations, shifts = particles(reference, 3, 1e4, seed=5)
    points = FourierPoints(N, N // 2 - 1)
    found = Aligner(MapReference(reference, points), QUICK).align(observe(points, volumes), "auto")
    assert angular_distance_degrees(found.rotations, rotations).max() < 0.8
    np.testing.assert_allclose(found.shifts_px, shifts, atol=0.12)
    identity = np.einsum("nij,nkj->nik", found.rotations, found.rotations)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-6)


def test_refinement_goes_from_the_pose_at_hand_to_the_right_one():
    reference = phantom()
    volumes, rotations, shifts = particles(reference, 3, 1.0, seed=6)
    points = FourierPoints(N, N // 2 - 1)
    from cryodl.core.alignment.rotation_grid import rotation_vectors_to_matrices

    off = rotation_vectors_to_matrices(np.deg2rad([[5, 0, 0], [0, -6, 0], [3, 3, 3]]))
    aligner = Aligner(MapReference(reference, points), QUICK)
    start = {"rotations": off @ rotations, "shifts_px": shifts + 0.8}
    found = aligner.align(observe(points, volumes), "refine", **start)
    assert angular_distance_degrees(found.rotations, rotations).max() < 3
    with pytest.raises(ConfigError, match="poses"):
        aligner.align(observe(points, volumes), "refine")


def test_symmetric_references_need_only_their_part_of_the_grid():
    reference = symmetrise(phantom(8), "D2")
    volumes, rotations, _ = particles(reference, 4, 0.5, seed=1)
    points = FourierPoints(N, N // 2 - 1)
    settings = SearchSettings(symmetry="D2", rotations=2304, max_shift_px=3)
    found = Aligner(MapReference(reference, points), settings).align(observe(points, volumes))
    assert angular_distance_degrees(found.rotations, rotations, "D2").max() < 8
    # Equivalent poses are not rivals.
    assert (found.confidence > 0.9).all()


def test_noise_alone_gives_no_confidence():
    points = FourierPoints(N, N // 2 - 1)
    noise = np.random.default_rng(0).standard_normal((6, N, N, N)).astype(np.float32)
    aligner = Aligner(MapReference(phantom(), points), QUICK)
    found = aligner.align(observe(points, noise))
    # Scores are in units of the noise: the best of some thousand tries stays below 6.
    assert found.score.max() < 6
    assert np.median(found.confidence) < 0.9


def test_two_particles_with_wedges_of_their_own_are_aligned_to_each_other():
    reference, wedge = phantom(), missing_wedge(N, -60, 60)
    first, a, s = particles(reference, 6, 0.4, seed=2, wedge=wedge)
    second, b, _ = particles(reference, 6, 0.4, seed=3, max_shift=0, wedge=wedge)
    points = FourierPoints(N, N // 2 - 1)
    snr = spectral_snr(points, np.concatenate([first, second]), wedge)
    seen = observe(points, first, wedge)
    errors = []
    for i in range(6):
        template = ParticleReference(second[i], wedge, points, snr, power=seen.power)
        aligner = Aligner(template, QUICK, is_likelihood=True)
        found = aligner.align(seen.chosen(torch.tensor([i])), "exhaustive")
        errors += list(angular_distance_degrees(found.rotations, a[i] @ b[i].T))
    assert np.median(errors) < 8


def test_particles_multiplied_by_their_transfer_are_the_same_observations():
    volumes, _, _ = particles(phantom(), 2, 1.0)
    transfer = missing_wedge(N, -50, 40) * 0.7
    points = FourierPoints(N, 8)
    full = np.ones((N, N, N), dtype=np.float32)
    plain = observe(points, volumes, transfer, mask=full)
    multiplied = np.stack([apply_transfer(v - v.mean(), transfer) for v in volumes])
    other = observe(points, multiplied, transfer**2, premultiplied=True, mask=full)
    torch.testing.assert_close(plain.weight, other.weight)
    torch.testing.assert_close(plain.data, other.data, atol=1e-3, rtol=1e-3)


def test_bad_input_is_told():
    points = FourierPoints(N, 8)
    with pytest.raises(InputError, match="boxes of 24"):
        observe(points, np.zeros((2, 16, 16, 16)))
    with pytest.raises(InputError, match="finite"):
        observe(points, np.full((1, N, N, N), np.nan))
    with pytest.raises(InputError, match="pixel size"):
        MapReference(np.zeros((N, N, N)), points)
    with pytest.raises(ConfigError, match="shell 40"):
        FourierPoints(N, 40)
    with pytest.raises(ConfigError, match="search"):
        SearchSettings(candidates=0)
