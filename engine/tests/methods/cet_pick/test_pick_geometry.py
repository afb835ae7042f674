"""Places: axis orders, labels, maxima, tiles. A voxel must come back where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cryodl.core.io.mrc import write_volume
from cryodl.errors import InputError
from cryodl.methods.cet_pick.axes import (
    beam_axis,
    from_working,
    points_from_working,
    points_to_working,
    resolve_order,
    to_working,
)
from cryodl.methods.cet_pick.evidence import Evidence
from cryodl.methods.cet_pick.labels import LabelShape, label_map, published_radius
from cryodl.methods.cet_pick.model import NetworkSize, build_network
from cryodl.methods.cet_pick.peaks import find_peaks
from cryodl.methods.cet_pick.predict import heat_map, tiles_of
from cryodl.methods.cet_pick.tomogram import Preparation, WorkingTomogram


@pytest.mark.parametrize("order", ["zyx", "imod", "xyz"])
def test_a_bright_voxel_is_found_again_through_every_order(order):
    stored = np.zeros((5, 6, 7), np.float32)
    stored[1, 2, 3] = 1
    working = to_working(stored, order)
    z, y, x = np.argwhere(working)[0]
    assert np.array_equal(points_to_working(np.array([[3.0, 2, 1]]), order), [[x, y, z]])
    assert np.array_equal(points_from_working(np.array([[x, y, z]]), order), [[3, 2, 1]])
    assert np.array_equal(from_working(working, order), stored)


def test_names_of_the_published_program_keep_their_meaning():
    noise = np.random.default_rng(0).standard_normal((24, 25, 26)).astype(np.float32)
    assert resolve_order("xzy", noise, "t")[0] == "imod"
    assert resolve_order("zxy", noise, "t")[0] == "zyx"
    assert resolve_order("xyz", noise, "t")[0] == "xyz"


def wedge_noise(shape, beam):
    noise = np.fft.fftn(np.random.default_rng(0).standard_normal(shape))
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij", sparse=True)
    across = k[2] if beam != 2 else k[0]
    return np.fft.ifftn(noise * (abs(k[beam]) <= np.tan(np.radians(60)) * abs(across))).real


@pytest.mark.parametrize(("beam", "order"), [(0, "zyx"), (1, "imod")])
def test_the_missing_wedge_tells_the_thickness(beam, order):
    volume = wedge_noise((48, 48, 48), beam)
    assert beam_axis(volume) == beam
    assert resolve_order("auto", volume, "t") == (order, "")
    wrong = "imod" if order == "zyx" else "zyx"
    with pytest.raises(InputError, match=f"--order {order}"):
        resolve_order(wrong, volume, "t.mrc")


def test_without_a_wedge_the_shortest_axis_is_the_thickness():
    noise = np.random.default_rng(0).standard_normal((64, 32, 64))
    assert resolve_order("auto", noise, "t")[0] == "imod"
    assert "is the order right" in resolve_order("zyx", noise, "t")[1]
    assert "tell" in resolve_order("auto", noise[:, :, :34], "t")[1]


def test_a_gold_bead_does_not_drown_the_particles(tmp_path):
    rng = np.random.default_rng(4)
    volume = rng.normal(0, 1, (32, 96, 96)).astype(np.float32)
    places = rng.uniform((8, 8, 8), (88, 88, 24), (20, 3))
    z, y, x = np.indices(volume.shape)
    for px, py, pz in places:
        volume -= np.exp(-((z - pz) ** 2 + (y - py) ** 2 + (x - px) ** 2) / 18)
    plain = volume.copy()
    for px, py, pz in ((20, 70, 16), (70, 20, 12)):
        volume -= 400 * np.exp(-((z - pz) ** 2 + (y - py) ** 2 + (x - px) ** 2) / 12)
    strengths = []
    for name, values in (("plain", plain), ("gold", volume)):
        write_volume(tmp_path / f"{name}.mrc", values, pixel_size_angstrom=10)
        tomogram = WorkingTomogram(tmp_path / f"{name}.mrc", "zyx", Preparation())
        evidence = Evidence(tomogram, 14)
        strengths.append(evidence.sigmas(places))
        assert evidence.other_reading(places) == ""
    assert strengths[0] < strengths[1] < -6


@pytest.mark.parametrize(
    ("bbox", "radius"), [(8, 1), (15, 1), (16, 2), (22, 3), (30, 4), (40, 5), (48, 6), (64, 8)]
)
def test_label_radii_are_the_published_ones(bbox, radius):
    assert published_radius(bbox) == radius


@pytest.mark.parametrize(("bbox", "hard", "half"), [(30, 1, 27), (40, 1, 33), (64, 7, 171)])
def test_label_voxels_are_as_many_as_published(bbox, hard, half):
    radius = published_radius(bbox)
    label = LabelShape((2 * radius + 1) / 6, radius * 3**0.5)
    found = label_map(np.array([[16.0, 16, 16]]), (0, 0, 0), (33,) * 3, (1.0, 1.0, 1.0), label)
    assert int((found == 1).sum()) == hard
    assert int((found > 0.5).sum()) == half
    assert found.min() == -1


def test_a_label_between_voxels_has_a_hard_one_and_is_round_in_the_tomogram():
    label = LabelShape(3.0, 9.0)
    found = label_map(np.array([[8.4, 8.5, 8.5]]), (0, 0, 0), (17, 17, 17), (1.0, 2.0, 2.0), label)
    assert found[8, 8, 8] == 1
    along_z, along_x = (found > 0.3).sum((1, 2)), (found > 0.3).sum((0, 1))
    assert (along_z > 0).sum() == pytest.approx(2 * (along_x > 0).sum(), abs=2)


def test_maxima_come_back_at_a_fraction_of_a_voxel():
    truth = np.array([[20.3, 30.7, 11.4], [50.6, 15.2, 30.9]])  # x, y, z of the tomogram
    spacing = np.array([2.0, 2.0, 2.0])
    z, y, x = np.meshgrid(*(np.arange(n) for n in (24, 32, 40)), indexing="ij")
    scores = np.zeros(z.shape, np.float32)
    for place in truth:
        at = (place[::-1] + 0.5) / spacing - 0.5
        squared = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2
        scores += np.exp(-squared / (2 * 1.5**2)).astype(np.float32)
    points, values = find_peaks(scores, (2.0, 2.0, 2.0), distance_px=8, threshold=0.2)
    points = points[np.argsort(points[:, 0])]
    assert np.abs(points - truth).max() < 0.05
    assert len(values) == 2


def test_near_maxima_leave_the_better_one_and_plateaus_leave_one():
    scores = np.zeros((9, 20, 20), np.float32)
    scores[4, 5, 5], scores[4, 5, 8] = 0.9, 0.8
    scores[4, 15, 14:17] = 0.5
    points, values = find_peaks(scores, (1.0, 1.0, 1.0), distance_px=4, threshold=0.1)
    assert values == pytest.approx([0.9, 0.5])
    assert len(find_peaks(scores, (1.0, 1.0, 1.0), distance_px=2, threshold=0.1)[0]) >= 3
    assert len(find_peaks(scores, (1.0, 1.0, 1.0), distance_px=2, limit=1)[0]) == 1


def test_tiles_cover_every_voxel_once():
    covered = np.zeros((23, 70, 101), int)
    for tile in tiles_of(covered.shape, 400_000):
        covered[slice(*tile.z), slice(*tile.y), slice(*tile.x)] += 1
    assert (covered == 1).all()


def test_tiles_give_the_heat_map_of_the_whole(tmp_path: Path, monkeypatch):
    values = np.random.default_rng(0).standard_normal((33, 66, 99)).astype(np.float32)
    write_volume(tmp_path / "t.mrc", values, pixel_size_angstrom=10.0)
    tomogram = WorkingTomogram(tmp_path / "t.mrc", "zyx", Preparation())
    network = build_network(NetworkSize("unet_3", 8, 8, 8), seed=1).eval()
    for parameter in (*network.head.parameters(), network.heat_map.weight):
        torch.nn.init.normal_(parameter, std=0.1)
    whole = heat_map(network, tomogram, torch.device("cpu"))
    monkeypatch.setattr("cryodl.methods.cet_pick.predict._CPU_VOXELS", 220_000)
    tiled = heat_map(network, tomogram, torch.device("cpu"))
    assert whole.shape == (1, 17, 33, 50)
    inner = np.abs(tiled - whole)[:, 2:-2, 4:-4, 4:-4]
    assert np.quantile(inner, 0.999) < 1e-4


def test_a_region_is_part_of_the_whole_and_mirrored_beyond_it(tmp_path: Path):
    values = np.random.default_rng(0).standard_normal((17, 20, 24)).astype(np.float32)
    values[0, 0, 0] = np.nan
    write = values.copy()
    write[0, 0, 0] = 0
    write_volume(tmp_path / "t.mrc", write, pixel_size_angstrom=10.0)
    tomogram = WorkingTomogram(tmp_path / "t.mrc", "zyx", Preparation(gauss=0.8))
    whole = tomogram.region(((0, 9), (0, 20), (0, 24)))
    part = tomogram.region(((3, 6), (7, 15), (9, 20)))
    assert np.allclose(part, whole[3:6, 7:15, 9:20], atol=1e-6)
    plain = WorkingTomogram(tmp_path / "t.mrc", "zyx", Preparation(gauss=0, dark=False))
    beyond = plain.region(((0, 2), (-2, 3), (0, 4)))
    assert np.allclose(beyond[:, 0], beyond[:, 4])
    assert whole.min() >= 0 and whole.max() <= 1


def test_dark_and_bright_are_each_others_complement(tmp_path: Path):
    values = np.random.default_rng(0).standard_normal((16, 20, 24)).astype(np.float32)
    write_volume(tmp_path / "t.mrc", values, pixel_size_angstrom=10.0)
    region = ((0, 8), (0, 20), (0, 24))
    dark, bright = (
        WorkingTomogram(tmp_path / "t.mrc", "zyx", Preparation(dark=dark)).region(region)
        for dark in (True, False)
    )
    assert np.allclose(dark + bright, 1, atol=1e-6)
