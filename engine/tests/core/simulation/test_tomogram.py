"""Simulated tomograms: objects where the truth says, in the pose it says, with the SNR asked."""

import numpy as np
import pytest
from scipy import fft, ndimage

from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import rotate_volume
from cryodl.core.simulation.imaging import Reconstruction
from cryodl.core.simulation.membranes import bead_profile, bilayer_profile
from cryodl.core.simulation.noise import NoiseSettings, smooth_volume
from cryodl.core.simulation.scene import SceneSettings, build_scene
from cryodl.core.simulation.structures import load_structures, make_structure
from cryodl.core.simulation.tilt_series import Optics, TiltScheme
from cryodl.core.simulation.tomogram import TomogramSettings, simulate_tomogram
from cryodl.errors import ConfigError

PLAIN = Optics(None, dose_damping=False, thickness_damping=False)
SHAPE = (40, 90, 97)


def lumps(n=17):
    rng = np.random.default_rng(4)
    grid = np.indices((n, n, n))
    centres = n // 2 + rng.uniform(-0.25 * n, 0.25 * n, (5, 3))
    return sum(
        (1 + i / 2) * np.exp(-sum((g - c) ** 2 for g, c in zip(grid, centre)) / 4)
        for i, centre in enumerate(centres)
    ).astype(np.float32)


def settings(number=12, **changes):
    values = {
        "shape_zyx": SHAPE,
        "scene": SceneSettings(number=number),
        "scheme": TiltScheme(-60, 60, 4),
        "optics": PLAIN,
        "contrast": "bright",
    }
    return TomogramSettings(**{**values, **changes})


def matches(first, second):
    return np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]


def cut(volume, place_xyz, n):
    """Cut a box whose centre voxel is at the place, to a fraction of a voxel."""
    offset = place_xyz[::-1] - n // 2
    return ndimage.affine_transform(volume, np.eye(3), offset, output_shape=(n,) * 3, order=3)


@pytest.mark.parametrize(("axis", "shape"), [("y", SHAPE), ("x", (41, 97, 90))])
def test_objects_are_in_place_in_pose_and_unmirrored(axis, shape):
    found = simulate_tomogram(
        settings(
            noise=NoiseSettings("none"),
            shape_zyx=shape,
            scheme=TiltScheme(-60, 60, 3, tilt_axis=axis),
            reconstruction=Reconstruction("exact"),
        ),
        2,
        [lumps()],
    )
    assert len(found.classes) == 12
    n = 25
    wedge = fft.ifftshift(missing_wedge(n, -60, 60, tilt_axis_degrees=90 if axis == "y" else 0))
    offsets, scores = [], []
    for place, turn in zip(found.coordinates_px, found.rotations):
        box = cut(found.volume, place, n)
        padded = np.pad(lumps(), 4)
        expected, mirror = (
            fft.ifftn(fft.fftn(rotate_volume(v, turn, order=3)) * wedge).real
            for v in (padded, padded[:, :, ::-1])
        )
        ball = sum((g - n // 2) ** 2 for g in np.indices((n,) * 3)) < 9**2
        scores.append(matches(box[ball], expected[ball]))
        assert scores[-1] > matches(box[ball], mirror[ball]) + 0.15
        peak = fft.fftshift(fft.ifftn(fft.fftn(box * ball) * np.conj(fft.fftn(expected))).real)
        top = np.array(np.unravel_index(peak.argmax(), peak.shape))
        np.testing.assert_array_equal(top, n // 2)
        for a in range(3):
            step = np.eye(3, dtype=int)[a]
            left, middle, right = (peak[tuple(top + s * step)] for s in (-1, 0, 1))
            offsets.append((left - right) / (2 * (left - 2 * middle + right)))
    assert min(scores) > 0.9
    assert np.abs(np.reshape(offsets, (-1, 3)).mean(axis=0)).max() < 0.1
    assert np.abs(offsets).max() < 0.2


def test_the_projections_of_the_series_tell_where_a_particle_is_seen():
    found = simulate_tomogram(settings(1, noise=NoiseSettings("none")), 1, [lumps()])
    spot = lumps()
    mass = np.array([np.sum(spot * g) / spot.sum() for g in np.indices(spot.shape)]) - 8
    place = found.coordinates_px[0] + found.rotations[0] @ mass[::-1]
    for image, matrix in zip(found.tilt_images, found.tilts.projections):
        x, y, _ = matrix @ [*place, 1.0]
        seen = [np.sum(image * g) / image.sum() for g in np.indices(image.shape)]
        assert seen == pytest.approx([y, x], abs=0.1)


def test_the_missing_wedge_is_empty_but_for_the_rest():
    n = 40
    found = simulate_tomogram(
        settings(1, shape_zyx=(n, n, n), noise=NoiseSettings(snr=0.01)),
        0,
        [lumps()],
    )
    power = np.abs(fft.fftshift(fft.fftn(found.volume))) ** 2
    inside = missing_wedge(n, -60, 60, edge_px=0) == 1
    far = missing_wedge(n, -66, 66, edge_px=2) == 0
    radius = np.sqrt(sum((g - n // 2) ** 2 for g in np.indices((n,) * 3)))
    band = (radius > 6) & (radius < 16)
    assert power[band & far].mean() < 0.03 * power[band & inside].mean()


@pytest.mark.parametrize(
    "noise",
    [
        NoiseSettings(snr=0.2),
        NoiseSettings(snr=0.2, statistics="poisson", exponent=1.0),
        NoiseSettings("smooth", snr=0.5),
    ],
)
def test_the_snr_is_as_asked_in_the_tomogram(noise):
    noisy = simulate_tomogram(settings(noise=noise), 3, [lumps()])
    clean = simulate_tomogram(settings(noise=NoiseSettings("none")), 3, [lumps()])
    assert noisy.snr == pytest.approx(noise.snr, rel=0.1)
    assert clean.snr == np.inf
    inside = clean.labels == 1
    # Both have a scale of their own: that of the clean one in units of noise is what fits best.
    gain = np.vdot(noisy.volume, clean.volume) / np.vdot(clean.volume, clean.volume)
    remainder = noisy.volume - gain * clean.volume
    snr = np.var(gain * clean.volume[inside]) / np.var(remainder)
    assert snr == pytest.approx(noise.snr, rel=0.1)
    assert remainder.std() == pytest.approx(1.0, rel=0.05)


def test_same_seed_same_bytes():
    scene = SceneSettings(5, decoys=2, vesicles=1, sheets=1, beads=2, texture=0.1)
    small = settings(scene=scene, shape_zyx=(32, 48, 48), optics=Optics(30000.0))
    first, again = (simulate_tomogram(small, 7, [lumps()]) for _ in range(2))
    assert first.volume.tobytes() == again.volume.tobytes()
    assert first.coordinates_px.tobytes() == again.coordinates_px.tobytes()
    assert first.labels.tobytes() == again.labels.tobytes()
    other = simulate_tomogram(small, 8, [lumps()])
    assert not np.allclose(first.volume, other.volume)


@pytest.fixture(scope="module")
def crowd():
    structures = [[s] for s in load_structures(["rubisco", "haemoglobin"], 12.0)]
    scene = SceneSettings(
        60, (1, 2), decoys=8, vesicles=1, sheets=1, beads=5, bead_radius_px=3, texture=0.1
    )
    return structures, build_scene((36, 120, 120), structures, scene, np.random.default_rng(0))


def test_nothing_overlaps_and_nothing_sticks_out(crowd):
    structures, scene = crowd
    assert len(scene.classes) == 60
    assert np.bincount(scene.classes)[1:].tolist() == [20, 40]
    radii = np.array([structures[c - 1][0].radius_px for c in scene.classes])
    places = np.concatenate([scene.coordinates_px, scene.beads_px])
    radii = np.concatenate([radii, np.full(len(scene.beads_px), 3.0)])
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (distance >= radii[:, None] + radii[None] - 1e-9).all()
    assert (places >= radii[:, None] - 1e-9).all()
    assert (places <= np.array([119, 119, 35]) - radii[:, None] + 1e-9).all()


def test_labels_show_what_is_where(crowd):
    structures, scene = crowd
    assert set(np.unique(scene.labels)) == {0, 1, 2, 3, 4, 5}
    assert scene.number_classes == 2
    for place in scene.beads_px:
        x, y, z = np.round(place).astype(int)
        assert scene.labels[z, y, x] == 4
    brightness = structures[0][0].density[structures[0][0].mask].mean()
    gold = scene.others[scene.labels == 4].mean()
    assert gold == pytest.approx(8 * brightness, rel=0.2)
    for label, (low, high) in {1: (0.5, 2), 2: (0.5, 2), 3: (0.2, 0.8)}.items():
        volume = scene.particles if label < 3 else scene.others
        assert low * brightness < volume[scene.labels == label].mean() < high * brightness
    sizes = np.bincount(scene.labels.ravel())
    expected = 20 * structures[0][0].mask.sum()
    assert sizes[1] == pytest.approx(expected, rel=0.05)
    ice = (scene.labels == 0) & (ndimage.binary_dilation(scene.labels > 0, iterations=6) == 0)
    assert scene.others[ice].std() == pytest.approx(0.1 * brightness, rel=0.15)


def test_what_finds_no_room_is_left_out():
    structures = [[make_structure("lumps", lumps())]]
    scene = build_scene((24, 40, 40), structures, SceneSettings(200), np.random.default_rng(0))
    assert 1 <= len(scene.classes) < 60
    assert len(scene.classes) == len(scene.coordinates_px) == len(scene.rotations)


def test_profiles():
    distance = np.array([0.0, 2.0, -2.0, 8.0])
    middle, one, other, away = bilayer_profile(distance, 4.0)
    assert middle < 0 < one == other
    assert abs(away) < 1e-6
    assert bead_profile(np.array([0.0, 5.0, 7.0]), 5.0).tolist() == [1.0, 0.5, 0.0]


def test_smooth_noise_has_its_correlation():
    noise = smooth_volume((32, 40, 48), 2.0, np.random.default_rng(0))
    assert noise.std() == pytest.approx(1, abs=0.05)
    neighbour = matches(noise[:, :, :-2], noise[:, :, 2:])
    # Of a Gaussian of deviation s: exp(-d^2 / (4 s^2)).
    assert neighbour == pytest.approx(np.exp(-4 / 16), abs=0.03)


def test_bad_input():
    with pytest.raises(ConfigError, match="across"):
        simulate_tomogram(settings(shape_zyx=(8, 64, 64)), 0, [lumps()])
    with pytest.raises(ConfigError, match="beads"):
        simulate_tomogram(settings(scene=SceneSettings(1, beads=-1)), 0, [lumps()])
    with pytest.raises(ConfigError, match="shape"):
        simulate_tomogram(settings(shape_zyx=(4, 64, 64)), 0, [lumps()])
