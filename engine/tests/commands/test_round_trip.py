"""An object goes tomogram -> point -> box -> pose -> average -> STAR -> RELION and comes back."""

import json
import subprocess

import numpy as np
import pytest
from round_trip_scene import BINNING, BOX, PIXEL, make_scene, write_scene

from cryodl.cli import main
from cryodl.core.geometry.rotations import angular_distance_degrees, rotate_volume
from cryodl.core.io.mrc import read_volume
from cryodl.core.io.particles.images import read_subtomogram
from cryodl.core.io.particles.read import read_particles
from cryodl.core.volumes.averaging import WedgeAverage


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """The scene, the folder of its extraction, and the particles that were read back."""
    folder = tmp_path_factory.mktemp("round_trip")
    scene = make_scene(noise=0.05)
    write_scene(scene, folder)
    status = main(
        ["particles", "extract", "--tomograms", f"{folder}/tomogram.mrc"]
        + ["--coordinates", f"{folder}/points.star", "--box-size-px", str(BOX)]
        + ["--binning", str(BINNING), "--ncpus", "1", "--output", f"{folder}/run"]
    )
    assert status == 0
    star = folder / "run" / json.loads((folder / "run/result.json").read_text())["star"]
    return scene, star, read_particles(star)


def correlation(a, b):
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


def check_in_place(found, reference):
    assert correlation(found, reference) > 0.95
    for axis in range(3):
        mirrored = np.roll(np.flip(found, axis), 1 - BOX % 2, axis)
        assert correlation(mirrored, reference) < 0.8
        assert correlation(np.roll(found, 1, axis), reference) < correlation(found, reference)


def test_poses_and_places_come_back(extracted):
    scene, _, particles = extracted
    assert len(particles) == len(scene.points_px)
    assert angular_distance_degrees(particles.rotations, scene.rotations).max() < 1e-3
    assert abs(particles.shifts_angstrom - scene.shifts_angstrom).max() < 1e-3
    assert abs(particles.coordinates_px - scene.points_px).max() < 1e-3
    assert particles.half_sets.tolist() == [1, 2] * 6
    table = particles.blocks[particles.particle_block]
    np.testing.assert_allclose(table["rlnAutopickFigureOfMerit"], 0.1 * np.arange(12), atol=1e-6)


def test_each_box_is_the_reference_in_its_pose(extracted):
    scene, _, particles = extracted
    for i in range(len(particles)):
        moved = rotate_volume(
            scene.reference,
            scene.rotations[i],
            translation_px=-scene.shifts_angstrom[i] / PIXEL,
            order=3,
        )
        assert correlation(read_subtomogram(particles, i), moved) > 0.95


def test_the_average_is_the_object_in_place_and_unmirrored(extracted):
    scene, _, particles = extracted
    average = WedgeAverage(BOX)
    for i in range(len(particles)):
        average.add(
            read_subtomogram(particles, i)[None],
            particles.rotations[i][None],
            particles.shifts_angstrom[i][None] / PIXEL,
            half_sets=particles.half_sets[i][None],
        )
    assert average.counts.tolist() == [6, 6]
    for found in (average.result(), *average.halves()):
        check_in_place(found, scene.reference)


@pytest.mark.relion
def test_relion_reconstructs_the_object_in_place_and_unmirrored(extracted):
    scene, star, _ = extracted
    output = star.parent / "relion.mrc"
    done = subprocess.run(
        ["relion_reconstruct", "--i", star.name, "--o", output.name, "--pad", "2"],
        cwd=star.parent,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    check_in_place(read_volume(output).data, scene.reference)
