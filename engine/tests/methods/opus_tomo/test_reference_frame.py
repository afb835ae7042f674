"""Particles in the frame of the reference: against simulations, and against direct sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from cryodl.core.geometry.rotations import random_rotations, rotate_volume
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.subtomograms import SubtomogramSettings, simulate_subtomograms
from cryodl.methods.opus_tomo.canonical import (
    CanonicalFrame,
    Sampling,
    central,
    density_of,
    density_transform,
    half_shells,
    half_weights,
    shrink,
)
from cryodl.methods.opus_tomo.losses import misfit
from cryodl.methods.opus_tomo.motions import (
    corrected_poses,
    hypotheses,
    moved,
    rotation_matrices,
)

N = 24


def blob(edge=N, places=((3, 0, 0), (0, -4, 1), (-2, 2, 4))):
    volume = np.zeros((edge,) * 3)
    for weight, (x, y, z) in enumerate(places, start=1):
        volume[edge // 2 + z, edge // 2 + y, edge // 2 + x] += weight
    return (gaussian_filter(volume, 1.3) * 50).astype(np.float32)


@pytest.fixture(scope="module")
def simulated():
    settings = SubtomogramSettings(
        structures=("groel_ring_cis",),
        number=3,
        box_size_px=N,
        pixel_size_angstrom=10.0,
        noise=NoiseSettings("none"),
    )
    return simulate_subtomograms(settings, 1)


@pytest.mark.parametrize(("crop", "least"), [(24, 0.985), (20, 0.975)])
def test_without_noise_data_are_the_density_seen_through_the_weight(simulated, crop, least):
    frame = CanonicalFrame(Sampling(N, N, crop, 10.0))
    for i in range(3):
        found = frame.transform(
            simulated.volumes[i],
            simulated.transfers,
            simulated.rotations[i],
            simulated.shifts_px[i],
        )
        density = central(simulated.references[0, 0], crop)
        expected = np.fft.irfftn(found.weight * np.fft.rfftn(density), s=(crop,) * 3)
        seen = np.fft.irfftn(found.data, s=(crop,) * 3)
        assert np.corrcoef(expected.ravel(), seen.ravel())[0, 1] > least


def test_pose_is_taken_back():
    rotation = random_rotations(1, np.random.default_rng(2))[0]
    shift = np.array([1.3, -0.7, 2.1])
    particle = rotate_volume(blob(), rotation, translation_px=-shift, order=3)
    found = CanonicalFrame(Sampling(N, N, N, 1.0)).transform(particle, None, rotation, shift)
    back = np.fft.irfftn(found.data, s=(N,) * 3)
    assert np.corrcoef(back.ravel(), blob().ravel())[0, 1] > 0.995
    assert found.weight.max() == 1


def test_misfit_is_the_squared_difference_without_the_energy():
    rng = np.random.default_rng(0)
    volume, other = blob(), blob(places=((2, 1, 0), (0, 0, 0)))
    transfer = np.clip(rng.random((N, N, N)).astype(np.float32), 0.2, 1)
    transfer = (transfer + transfer[::-1, ::-1, ::-1]) / 2
    frame = CanonicalFrame(Sampling(N, N, N, 1.0))
    found = frame.transform(volume, transfer, np.eye(3), np.zeros(3))
    seen = density_transform(torch.from_numpy(other)[None], N)
    value, power = misfit(
        seen, torch.from_numpy(found.data)[None], torch.from_numpy(found.weight)[None]
    )
    # The same from definitions: data y = N / T where T is not 0.
    gain = np.sqrt(found.weight)
    y = np.divide(found.data, gain, out=np.zeros_like(found.data), where=gain > 0)
    count = half_weights(N).numpy()
    difference = (np.abs(y - gain * seen[0].numpy()) ** 2 * count).sum()
    energy = (np.abs(y) ** 2 * count).sum()
    assert float(value[0]) == pytest.approx(difference - energy, rel=1e-3)
    assert float(power[0]) > 0
    assert found.energy.sum() == pytest.approx(energy, rel=1e-4)


def test_premultiplied_particles_give_the_same():
    frame = CanonicalFrame(Sampling(N, N, N, 1.0))
    transfer = np.full((N, N, N), 0.5, np.float32)
    plain = frame.transform(blob(), transfer, np.eye(3), np.zeros(3))
    given = frame.transform(0.5 * blob(), transfer**2, np.eye(3), np.zeros(3), premultiplied=True)
    np.testing.assert_allclose(given.data, plain.data, atol=1e-3)
    np.testing.assert_allclose(given.weight, plain.weight, atol=1e-6)


@pytest.mark.parametrize("edge", [16, 24, 32])
def test_density_of_other_sampling(edge):
    density = torch.from_numpy(blob(32))
    found = density_of(density_transform(density[None], edge), edge)[0].numpy()
    if edge <= 32:
        np.testing.assert_allclose(found, shrink(density.numpy(), edge), atol=1e-4)
    assert found.argmax() >= 0
    centre = np.array(np.unravel_index(found.argmax(), found.shape)) - edge // 2
    expected = np.array([4, 2, -2]) * edge / 32
    assert np.abs(centre - expected).max() <= 1


def test_shells_of_the_half_layout():
    shells = half_shells(8)
    assert shells.shape == (8, 8, 5)
    assert shells[0, 0, 0] == 0 and shells[0, 0, 3] == 3 and shells[7, 0, 0] == 1
    assert float(half_weights(8).sum() * 64) == pytest.approx(1.0)


def test_moving_moves_what_it_says():
    density = torch.from_numpy(blob())[None]
    vector, shift = torch.tensor([[0.0, 0.0, np.pi / 2]]), torch.tensor([[1.0, 0.0, -2.0]])
    found = moved(density, vector.float(), shift)[0].numpy()
    expected = rotate_volume(
        blob(), rotation_matrices(vector)[0].numpy(), translation_px=shift[0].numpy(), order=1
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)
    still = moved(density, torch.zeros(1, 3), torch.zeros(1, 3))
    torch.testing.assert_close(still, density, atol=1e-5, rtol=0)


def test_a_moved_density_and_a_corrected_pose_are_the_same_particle():
    rng = np.random.default_rng(4)
    rotation, shift = random_rotations(1, rng), rng.uniform(-1, 1, (1, 3))
    vector, move = rng.normal(0, 0.1, (1, 3)), rng.normal(0, 1, (1, 3))
    turn = rotation_matrices(torch.as_tensor(vector))[0].numpy()
    new_rotation, new_shift = corrected_poses(rotation, shift, vector, move)
    point = np.array([1.0, 2.0, 3.0])
    through_density = rotation[0] @ (turn @ point + move[0]) - shift[0]
    np.testing.assert_allclose(new_rotation[0] @ point - new_shift[0], through_density, atol=1e-12)


def test_hypotheses_hold_the_identity_and_have_no_mean():
    found = hypotheses(7)
    assert found.shape == (7, 3) and not found[0].any()
    assert found.mean(dim=0).abs().max() < np.radians(0.05)
    assert hypotheses(1).abs().max() == 0


def test_boxes_that_were_cut_rotated(tmp_path):
    from dataclasses import replace

    from cryodl.core.io.mrc import write_volume
    from cryodl.core.io.particles.make import particles_from_subtomograms
    from cryodl.core.volumes.particle_average import AverageSettings
    from cryodl.methods.opus_tomo.data import ParticleStore

    own, cut = random_rotations(2, np.random.default_rng(7))
    shift = np.array([1.0, -0.5, 0.7])
    path = tmp_path / "one.mrc"
    write_volume(path, rotate_volume(blob(), own, order=3), pixel_size_angstrom=10.0)
    plain = particles_from_subtomograms(
        [path],
        pixel_size_angstrom=10.0,
        box_size_px=N,
        tomograms=["t"],
        rotations=own[None],
        shifts_angstrom=10 * shift[None],
    )
    # In the tomogram the same particle is turned by the box as well.
    turned = replace(
        plain,
        rotations=(cut @ own)[None],
        shifts_angstrom=10 * (cut @ shift)[None],
        box_rotations=cut[None],
    )
    stores = [ParticleStore(p, AverageSettings(), Sampling(N, N, N, 10.0)) for p in (plain, turned)]
    first, second = (store.canonical(0) for store in stores)
    np.testing.assert_allclose(second.data, first.data, atol=1e-4 * np.abs(first.data).max())
    # The beam is that of the tomogram.
    np.testing.assert_allclose(stores[1].views[0], (cut @ own)[2])
