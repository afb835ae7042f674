"""Two structures in noise come apart without a label; each part of the way there by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from cryodl.cli import main, run_command
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.read import read_particles
from cryodl.methods.cet_pick.embedding import BoxEncoder, BoxViews, codes_of, nt_xent
from cryodl.methods.cet_pick.feature_map import (
    clusters_of,
    plane_map,
    principal_components,
    tsne,
)
from cryodl.methods.cet_pick.proposals import box_edge, cut_boxes, propose

BBOX = 14
SHAPE = (56, 144, 144)


def structure(kind: int) -> np.ndarray:
    """Return a ball, or a ring that lies in the plane, of about the same size and density."""
    z, y, x = np.mgrid[-10:11, -10:11, -10:11].astype(np.float32)
    if kind == 0:
        return ((z**2 + y**2 + x**2) < 5.0**2).astype(np.float32)
    return 1.6 * (((np.hypot(y, x) - 5.5) ** 2 + z**2) < 2.2**2).astype(np.float32)


def scene(seed: int):
    """Return a tomogram, dark matter, with points x, y, z and kinds."""
    generator = np.random.default_rng(seed)
    points: list[np.ndarray] = []
    while len(points) < 50:
        point = generator.integers(11, np.array(SHAPE[::-1]) - 11)
        if all(np.linalg.norm(point - other) > 1.2 * BBOX for other in points):
            points.append(point)
    kinds = generator.integers(0, 2, len(points))
    density = np.zeros(SHAPE, np.float32)
    for point, kind in zip(points, kinds, strict=True):
        at = tuple(slice(c - 10, c + 11) for c in point[::-1])
        density[at] += structure(int(kind))
    density = ndimage.gaussian_filter(density, 1.0)
    density += 0.9 * generator.standard_normal(SHAPE, dtype=np.float32)
    return -density, np.array(points, float), kinds


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> tuple[Path, np.ndarray, np.ndarray]:
    folder = tmp_path_factory.mktemp("explore")
    values, points, kinds = scene(3)
    write_volume(folder / "tomo.mrc", values, pixel_size_angstrom=10.0)
    run_command(
        ["cet-pick", "explore", "--tomograms", str(folder / "tomo.mrc"), "--bbox", str(BBOX)]
        + ["--proposals", "50", "--clusters", "4", "--steps", "30", "--devices", "cpu"]
        + ["--output", str(folder / "map")]
    )
    return folder / "map", points, kinds


def test_two_structures_come_apart_without_labels(explored):
    folder, points, kinds = explored
    result = json.loads((folder / "result.json").read_text())
    particles = read_particles(folder / result["map"], require_images=False)
    table = particles.blocks[particles.particle_block]
    distance = np.linalg.norm(particles.coordinates_px[:, None] - points, axis=2)
    near = distance.min(axis=1) < BBOX / 2
    assert near.mean() > 0.8  # random places: 15 %
    true = kinds[distance.argmin(axis=1)][near]
    found = np.asarray(table["rlnClassNumber"], int)[near]
    right = sum(np.bincount(true[found == c]).max() for c in np.unique(found))
    assert right / len(true) > 0.85  # four clusters at random: about 0.6
    places = np.column_stack([table["cdlMapX"], table["cdlMapY"]]).astype(float)[near]
    others = np.linalg.norm(places[:, None] - places, axis=2) + 10 * np.eye(len(places))
    assert (true[others.argmin(axis=1)] == true).mean() > 0.8  # neighbours at random: 0.5
    stored = np.load(folder / result["codes"])
    assert stored["codes"].shape == (len(particles), 32)
    assert len(stored["images"]) == len(particles)
    assert (folder / "report.html").stat().st_size > 10_000


def test_too_few_blobs_end_in_one_line(tmp_path: Path, capsys):
    noise = np.random.default_rng(0).standard_normal((20, 32, 32)).astype(np.float32)
    write_volume(tmp_path / "t.mrc", noise, pixel_size_angstrom=10.0)
    arguments = ["cet-pick", "explore", "--tomograms", str(tmp_path / "t.mrc"), "--bbox", "30"]
    assert main([*arguments, "--devices", "cpu", "--output", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert "--bbox" in error and error.count("\n") == 1


def test_blobs_of_the_diameter_are_found_in_place():
    small = np.zeros((24, 40, 44), np.float32)
    z, y, x = np.indices(small.shape)
    for centre in ((12, 10, 12), (11, 28, 30)):
        squared = sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True))
        small += squared < 4.0**2
    points, strengths = propose(small, (2.0, 2.0, 2.0), 16.0, 2)
    expected = 2 * np.array([[12, 10, 12], [30, 28, 11]], float) + 0.5
    for point in expected:
        assert np.linalg.norm(points - point, axis=1).min() < 1.0
    assert strengths[0] >= strengths[1] > 3


def test_boxes_are_centred_and_standardised():
    small = np.zeros((20, 30, 30), np.float32)
    small[10, 14, 16] = 1
    small = ndimage.gaussian_filter(small, 1.5)
    point = np.array([[2 * 16 + 0.5, 2 * 14 + 0.5, 2 * 10 + 0.5]])
    (box,) = cut_boxes(small, (2.0, 2.0, 2.0), point, 16.0).astype(float)
    assert box.shape == (box_edge(16.0) + 2,) * 3
    assert abs(box.mean()) < 1e-2 and box.std() == pytest.approx(1, abs=1e-2)
    assert np.allclose(box, box[::-1, ::-1, ::-1], atol=5e-2)


def test_the_loss_is_least_for_views_that_agree():
    vectors = torch.eye(6)
    same = nt_xent(torch.cat([vectors, vectors]), 0.2)
    mixed = nt_xent(torch.cat([vectors, vectors.roll(1, 0)]), 0.2)
    # One partner at cosine 1, ten others at 0.
    assert float(same) == pytest.approx(np.log(1 + 10 * np.exp(-5)), rel=1e-4)
    assert float(mixed) == pytest.approx(float(same) + 5, rel=1e-3)


def test_codes_do_not_change_with_mirror_images():
    torch.manual_seed(0)
    encoder = BoxEncoder(8)
    boxes = np.random.default_rng(1).standard_normal((3, 14, 14, 14)).astype(np.float16)
    cpu = torch.device("cpu")
    turned = np.ascontiguousarray(np.flip(boxes, (1, 3)))
    assert np.allclose(codes_of(encoder, boxes, cpu), codes_of(encoder, turned, cpu), atol=1e-4)


def test_views_are_a_function_of_the_counters():
    boxes = np.random.default_rng(1).standard_normal((9, 14, 14, 14)).astype(np.float16)
    source = BoxViews(boxes, 4, seed=5)
    first, again, later = (source.batch(step, 0, 0, 1) for step in (0, 0, 1))
    assert torch.equal(first["first"], again["first"])
    assert not torch.equal(first["first"], later["first"])
    assert first["second"].shape == (4, 1, 12, 12, 12)


def blobs_in_space(generator: np.random.Generator, each: int = 40):
    centres = 6 * np.eye(3, 10)
    kinds = np.repeat(np.arange(3), each)
    return (centres[kinds] + generator.standard_normal((3 * each, 10))).astype(np.float32), kinds


def test_clusters_and_map_keep_groups_together():
    points, kinds = blobs_in_space(np.random.default_rng(2))
    clusters = clusters_of(points, 3, seed=0)
    assert all(len(set(clusters[kinds == k])) == 1 for k in range(3))
    sizes = np.bincount(clusters)[1:]
    assert (np.diff(sizes) <= 0).all()
    places, method = plane_map(points, seed=0)
    assert method in ("t-SNE", "UMAP") and np.abs(places).max() == pytest.approx(1)
    distance = np.linalg.norm(places[:, None] - places, axis=2) + 10 * np.eye(len(places))
    assert (kinds[distance.argmin(axis=1)] == kinds).mean() > 0.97


def test_points_that_coincide_are_laid_out():
    points = np.repeat(np.eye(4), 10, axis=0)
    places = tsne(points, generator=np.random.default_rng(0))
    assert np.isfinite(places).all() and places.std() > 0


def test_components_are_uncorrelated_and_few_points_are_mapped():
    codes = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    found = principal_components(codes, 3)
    assert np.allclose(found.T @ found, np.diag(np.diag(found.T @ found)), atol=1e-6)
    places, method = plane_map(codes[:4], seed=0)
    assert places.shape == (4, 2) and method == "principal components"
