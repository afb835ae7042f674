"""Simulated subtomograms hold what their truth says."""

import numpy as np
import pytest
from scipy import fft

from cryodl.core.geometry.rotations import angular_distance_degrees, rotate_volume
from cryodl.core.simulation.imaging import Reconstruction
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.poses import draw_classes, known_poses, rotations_near_identity
from cryodl.core.simulation.structures import bend, load_structures, make_structure, states_of
from cryodl.core.simulation.subtomograms import (
    SubtomogramSettings,
    SubtomogramSimulator,
    simulate_subtomograms,
)
from cryodl.core.simulation.tilt_series import Optics, TiltScheme
from cryodl.errors import ConfigError

SILENT = NoiseSettings("none")
RINGS = ("groel_ring_cis", "groel_ring_trans")
COARSE = TiltScheme(-60, 60, 6)


def settings(**changes):
    values = {"structures": ("rubisco",), "number": 6, "box_size_px": 24, "scheme": COARSE}
    return SubtomogramSettings(**{**values, **changes})


def lumps(n, seed=0):
    rng = np.random.default_rng(seed)
    grid = np.indices((n, n, n))
    centres = n // 2 + rng.uniform(-0.2 * n, 0.2 * n, (5, 3))
    return sum(
        (1 + i / 2) * np.exp(-sum((g - c) ** 2 for g, c in zip(grid, centre)) / 5)
        for i, centre in enumerate(centres)
    ).astype(np.float32)


def matches(first, second):
    return np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]


@pytest.mark.parametrize("n", [24, 25])
@pytest.mark.parametrize("imaging", ["tilt-series", "wedge", "none"])
def test_the_truth_poses_turn_the_reference_into_the_particle(n, imaging):
    density = lumps(n)
    found = simulate_subtomograms(
        settings(box_size_px=n, imaging=imaging, noise=SILENT, number=4), 1, [density]
    )
    assert found.volumes.shape == (4, n, n, n)
    assert found.volumes.dtype == np.float32
    for volume, rotation, shift in zip(found.volumes, found.rotations, found.shifts_px):
        posed = rotate_volume(density, rotation, translation_px=-shift, order=3)
        seen = fft.ifftn(fft.fftn(posed) * fft.ifftshift(found.transfers)).real
        assert matches(volume, seen) > 0.97
        assert matches(volume[:, :, ::-1], seen) < 0.8
        assert matches(volume, posed) > 0.8


def test_the_snr_is_as_asked_for_every_style_of_noise():
    for noise in (
        NoiseSettings(snr=0.1),
        NoiseSettings(snr=2.0, exponent=1.0),
        NoiseSettings(snr=0.1, statistics="poisson"),
        NoiseSettings("smooth", snr=0.3),
    ):
        found = simulate_subtomograms(settings(noise=noise, number=8))
        assert found.snr == pytest.approx(noise.snr, rel=0.1), noise


def test_the_measured_snr_is_of_the_volumes_themselves():
    noisy = simulate_subtomograms(settings(noise=NoiseSettings(snr=0.2), number=8))
    clean = simulate_subtomograms(settings(noise=SILENT, number=8))
    structure = load_structures(["rubisco"], 10.0)[0]
    signal, noise = [], []
    for i in range(8):
        mask = structure.posed_mask(noisy.rotations[i], -noisy.shifts_px[i], 24)
        # Both are divided by a constant of their own, found by regression.
        gain = np.vdot(noisy.volumes.ravel(), clean.volumes.ravel()) / np.vdot(
            clean.volumes.ravel(), clean.volumes.ravel()
        )
        signal.append(np.var(gain * clean.volumes[i][mask]))
        noise.append(np.var(noisy.volumes[i] - gain * clean.volumes[i]))
    assert np.mean(signal) / np.mean(noise) == pytest.approx(0.2, rel=0.1)
    assert np.mean(noise) == pytest.approx(1.0, rel=0.05)


def test_same_seed_same_bytes_and_particles_do_not_depend_on_each_other():
    asked = settings(junk_fraction=0.3, neighbours=1, known_poses="perturbed")
    first, again = simulate_subtomograms(asked, 5), simulate_subtomograms(asked, 5)
    assert first.volumes.tobytes() == again.volumes.tobytes()
    assert first.known_rotations.tobytes() == again.known_rotations.tobytes()
    other = simulate_subtomograms(asked, 6)
    assert not np.allclose(first.volumes, other.volumes)
    alone = SubtomogramSimulator(asked, 5).particle(4)
    assert alone.tobytes() == first.volumes[4].tobytes()


def test_classes_states_junk_and_half_sets():
    found = simulate_subtomograms(
        settings(
            structures=RINGS,
            number=40,
            box_size_px=32,
            proportions=(3, 1),
            junk_fraction=0.1,
            motion_degrees=30,
            motion_steps=3,
            imaging="wedge",
        )
    )
    counts = np.bincount(found.classes, minlength=3)
    assert counts[0] == 4
    assert 26 <= counts[1] <= 30
    assert set(found.states) == {0, 1, 2}
    assert (found.states[found.classes == 0] == 0).all()
    assert sorted(np.bincount(found.half_sets)[1:]) == [20, 20]
    assert found.references.shape == (2, 3, 32, 32, 32)
    assert 0.4 < matches(found.references[0, 1], found.references[1, 1]) < 0.9
    assert matches(found.references[0, 0], found.references[0, 2]) < 0.97


def test_a_class_is_told_from_the_other_by_its_truth():
    found = simulate_subtomograms(
        settings(structures=RINGS, number=12, box_size_px=32, noise=SILENT, equalise=True)
    )
    for i in range(12):
        scores = [
            matches(
                found.volumes[i],
                fft.ifftn(
                    fft.fftn(
                        rotate_volume(
                            reference[0], found.rotations[i], translation_px=-found.shifts_px[i]
                        )
                    )
                    * fft.ifftshift(found.transfers)
                ).real,
            )
            for reference in found.references
        ]
        assert np.argmax(scores) + 1 == found.classes[i]


def test_known_poses():
    true = simulate_subtomograms(settings(imaging="none"))
    np.testing.assert_array_equal(true.known_rotations, true.rotations)
    nothing = simulate_subtomograms(settings(imaging="none", known_poses="none"))
    assert (nothing.known_rotations == np.eye(3)).all()
    assert not nothing.known_shifts_px.any()
    rng = np.random.default_rng(0)
    rotations = rotations_near_identity(500, 90, rng)
    turned, shifts = known_poses(rotations, np.zeros((500, 3)), "perturbed", 4.0, 0.5, rng)
    error = angular_distance_degrees(rotations, turned)
    assert np.sqrt(np.mean(error**2)) == pytest.approx(4.0, rel=0.1)
    assert shifts.std() == pytest.approx(0.5, rel=0.1)


def test_every_particle_has_its_own_contrast_transfer():
    found = simulate_subtomograms(
        settings(
            number=3,
            optics=Optics(25000.0),
            defocus_spread_angstrom=5000,
            reconstruction=Reconstruction(phase_flip=True),
        )
    )
    assert found.transfers.shape == (3, 24, 24, 24)
    assert (np.abs(found.defocus_angstrom - 25000) <= 5000).all()
    assert np.abs(found.transfers[0] - found.transfers[1]).max() > 0.05


def test_contrast_scale_and_offset():
    bright = simulate_subtomograms(settings(noise=SILENT))
    dark = simulate_subtomograms(
        settings(noise=SILENT, contrast="dark", intensity_scale=3.0, intensity_offset=7.0)
    )
    np.testing.assert_allclose(dark.volumes, 7 - 3 * bright.volumes, atol=1e-3)


def test_neighbours_lie_outside_the_particle():
    alone = SubtomogramSimulator(settings(imaging="none", noise=SILENT, structures=("p97",)))
    crowded = SubtomogramSimulator(
        settings(imaging="none", noise=SILENT, structures=("p97",), neighbours=4)
    )
    added = crowded.specimen(0) - alone.specimen(0)
    assert added.max() > 0.3 * alone.specimen(0).max()
    assert np.abs(added[alone.mask(0)]).mean() < 0.02 * alone.specimen(0)[alone.mask(0)].mean()


def test_a_bend_moves_the_upper_half_alone():
    structure = load_structures(["groel_groes"], 8.0)[0]
    bent = bend(structure, 20.0)
    n = structure.density.shape[0]
    lower = slice(0, n // 2 - 8)
    np.testing.assert_allclose(
        bent.density[lower], structure.density[lower], atol=0.02 * structure.density.max()
    )
    assert matches(bent.density[n // 2 + 4 :], structure.density[n // 2 + 4 :]) < 0.9
    assert bent.density.sum() == pytest.approx(structure.density.sum(), rel=0.02)
    assert [len(states) for states in states_of([structure], 40, 5)] == [5]


def test_a_structure_in_no_pose_is_itself():
    structure = make_structure("lumps", lumps(21))
    np.testing.assert_allclose(structure.posed(np.eye(3), np.zeros(3), 21), lumps(21), atol=1e-5)
    moved = structure.posed(np.eye(3), (3, 0, 0), 21)
    np.testing.assert_allclose(moved[..., 3:], lumps(21)[..., :-3], atol=1e-4)


def test_bad_input():
    with pytest.raises(ConfigError, match="cuts"):
        SubtomogramSimulator(settings(box_size_px=12))
    with pytest.raises(ConfigError, match="nothing"):
        SubtomogramSimulator(settings(structures=("nothing",)))
    with pytest.raises(ConfigError, match="found none"):
        SubtomogramSimulator(settings(structures=()))
    with pytest.raises(ConfigError, match="motion"):
        SubtomogramSimulator(settings(motion_steps=3))
    with pytest.raises(ConfigError, match="imaging"):
        SubtomogramSimulator(settings(imaging="photo"))
    with pytest.raises(ConfigError, match="poses"):
        SubtomogramSimulator(settings(known_poses="some"))
    for bad in ({"number": 0}, {"junk_fraction": 2.0}, {"intensity_scale": 0.0}):
        with pytest.raises(ConfigError, match="found"):
            settings(**bad)
    for bad in ({"snr": 0.0}, {"style": "loud"}, {"statistics": "none"}, {"correlation_px": -1}):
        with pytest.raises(ConfigError, match="found"):
            NoiseSettings(**bad)
    with pytest.raises(ConfigError, match="proportions"):
        draw_classes(10, (1.0, -1.0), 2, np.random.default_rng(0))
