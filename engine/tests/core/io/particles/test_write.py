import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from comparison_of_particles import converted, same_particles

from cryodl.core.geometry.rotations import euler_to_matrix, matrix_to_euler
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.dialects import DIALECTS, recognise
from cryodl.core.io.particles.make import (
    particles_from_coordinates,
    particles_from_subtomograms,
    particles_from_tilt_stacks,
)
from cryodl.core.io.particles.model import TiltSeries
from cryodl.core.io.particles.read import TOMOGRAMS_FILE, read_particles
from cryodl.core.io.particles.write import write_optimisation_set, write_particles
from cryodl.core.io.particles.write_tomograms import write_tomograms
from cryodl.core.io.star import StarBlocks, read_star, write_star
from cryodl.errors import InputError


def test_pose_of_relion5_in_two_parts(tmp_path):
    """The numbers of both programs that were compared; see docs/conventions.md."""
    write_star(tmp_path / "p.star", relion5_blocks())
    particles = read_particles(tmp_path / "p.star", require_images=False)
    np.testing.assert_allclose(
        matrix_to_euler(particles.rotations[0]), [53.9578, 56.0460, 95.4344], atol=1e-4
    )
    np.testing.assert_allclose(
        particles.shifts_angstrom[0], [-1.872034, -4.069348, 5.471371], atol=1e-6
    )
    box, origin = particles.box_poses()
    np.testing.assert_allclose(box[0], euler_to_matrix(30, 50, 70), atol=1e-9)
    np.testing.assert_allclose(origin[0], [3, -4, 5], atol=1e-9)


@pytest.mark.parametrize("dialect", ["relion4", "relion5"])
def test_particles_get_the_names_by_which_relion_knows_them(dialect, tmp_path):
    points = particles_from_coordinates(
        [[1, 2, 3], [4, 5, 6], [7, 8, 9]], pixel_size_angstrom=4, tomograms=["083", "7", "083"]
    )
    again = converted(points, tmp_path, dialect)
    table = again.blocks[again.particle_block]
    assert table["rlnTomoParticleName"].tolist() == ["083/1", "7/1", "083/2"]
    same_particles(points, again)
    # Names that a file has are its own.
    table["rlnTomoParticleName"] = ["083/12", "7/x", "083/3"]
    write_particles(tmp_path / "own.star", again, dialect=dialect)
    assert read_star(tmp_path / "own.star")["particles"]["rlnTomoParticleName"].tolist() == [
        *("083/12", "7/x", "083/3")
    ]


def relion5_blocks():
    blocks = StarBlocks(version=50001)
    blocks["general"] = {"rlnTomoSubTomosAre2DStacks": 0}
    blocks["optics"] = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["g"],
            "rlnImagePixelSize": [2.0],
            "rlnImageSize": [16],
            "rlnTomoTiltSeriesPixelSize": [1.0],
        }
    )
    blocks["particles"] = pd.DataFrame(
        {
            "rlnTomoName": ["083"],
            "rlnTomoParticleName": ["083/1"],
            "rlnImageName": ["a.mrc"],
            "rlnCoordinateX": [10.0],
            "rlnCoordinateY": [20.0],
            "rlnCoordinateZ": [30.0],
            "rlnTomoSubtomogramRot": [10.0],
            "rlnTomoSubtomogramTilt": [20.0],
            "rlnTomoSubtomogramPsi": [30.0],
            "rlnAngleRot": [30.0],
            "rlnAngleTilt": [50.0],
            "rlnAnglePsi": [70.0],
            "rlnOriginXAngst": [3.0],
            "rlnOriginYAngst": [-4.0],
            "rlnOriginZAngst": [5.0],
            "rlnOpticsGroup": [1],
        }
    )
    blocks["audit"] = {"rlnNote": "kept"}
    return blocks


def test_a_new_pose_leaves_the_rotation_of_the_box(tmp_path):
    write_star(tmp_path / "p.star", relion5_blocks())
    particles = read_particles(tmp_path / "p.star", require_images=False)
    rotation, shift = euler_to_matrix(12, 34, 56), np.array([1.0, 2.0, 3.0])
    moved = particles.with_poses(rotation[None], shift[None])
    for dialect in DIALECTS:
        write_particles(tmp_path / "q.star", moved, dialect=dialect)
        again = read_particles(tmp_path / "q.star", require_images=False)
        np.testing.assert_allclose(again.rotations[0], rotation, atol=1e-8)
        np.testing.assert_allclose(again.shifts_angstrom[0], shift, atol=1e-6)
        table = again.blocks[again.particle_block]
        assert table["rlnTomoSubtomogramTilt"].tolist() == [20.0]
        assert again.blocks["audit"] == {"rlnNote": "kept"}
        assert again.tomograms == ["083"]


def test_a_pose_that_is_kept_keeps_its_numbers(tmp_path):
    """Other angles for the same rotation would make every file look changed."""
    blocks = relion5_blocks()
    blocks["particles"]["rlnAngleRot"] = -170.0
    blocks["particles"]["rlnAngleTilt"] = -40.0
    write_star(tmp_path / "p.star", blocks)
    particles = read_particles(tmp_path / "p.star", require_images=False)
    write_particles(tmp_path / "q.star", particles)
    table = read_star(tmp_path / "q.star")["particles"]
    assert table[["rlnAngleRot", "rlnAngleTilt"]].iloc[0].tolist() == [-170.0, -40.0]


def test_degenerate_angles_come_back_as_the_same_rotation(tmp_path):
    rotations = euler_to_matrix([10, 10, -170], [0, 180, -40], [20, 20, 95])
    particles = boxes(tmp_path, 3, rotations=rotations)
    write_particles(tmp_path / "p.star", particles)
    again = read_particles(tmp_path / "p.star")
    np.testing.assert_allclose(again.rotations, rotations, atol=1e-8)


def boxes(folder, count, size=8, **others):
    rng = np.random.default_rng(0)
    paths = [folder / f"box_{i}.mrc" for i in range(count)]
    for path in paths:
        data = rng.normal(size=(size,) * 3).astype(np.float32)
        write_volume(path, data, pixel_size_angstrom=2.0)
    return particles_from_subtomograms(paths, pixel_size_angstrom=2.0, box_size_px=size, **others)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_fresh_set_is_written_and_read(dialect, tmp_path):
    rng = np.random.default_rng(1)
    particles = boxes(
        tmp_path,
        4,
        size=9,
        names=["083/9", "083/2", "7/1", "7/100"],
        tomograms=["083", "083", "7", "7"],
        coordinates_px=rng.uniform(0, 100, (4, 3)).round(3),
        coordinate_pixel_size_angstrom=4.0,
        rotations=euler_to_matrix(*rng.uniform(0, 180, (3, 4))),
        shifts_angstrom=rng.normal(size=(4, 3)).round(3),
        half_sets=[1, 2, 1, 2],
        classes=[3, 1, 2, 0],
    ).with_column("cdlScore", [0.1, 0.2, 0.3, 0.4])
    there = converted(particles, tmp_path, dialect)
    same_particles(particles, there)
    assert there.dialect == dialect
    assert there.blocks[there.particle_block]["cdlScore"].tolist() == [0.1, 0.2, 0.3, 0.4]


def test_a_subset_with_gaps_keeps_its_names(tmp_path):
    particles = boxes(tmp_path, 5, names=list("edcba"), tomograms=["t"] * 5)
    some = particles.subset(np.array([4, 1]))
    write_particles(tmp_path / "p.star", some)
    again = read_particles(tmp_path / "p.star")
    assert again.names == ["a", "d"]
    assert [path.name for path in again.image_paths] == ["box_4.mrc", "box_1.mrc"]


def test_copies_of_one_image_have_names_of_their_own(tmp_path):
    particles = boxes(tmp_path, 2)
    table = pd.concat([particles.blocks["particles"]] * 2, ignore_index=True)
    table["rlnAngleRot"] = [0.0, 0.0, 180.0, 180.0]
    blocks = StarBlocks({**particles.blocks, "particles": table}, version=30001)
    write_star(tmp_path / "p.star", blocks)
    expanded = read_particles(tmp_path / "p.star")
    assert len(set(expanded.names)) == 4
    last = expanded.subset(np.array([3]))
    write_particles(tmp_path / "last.star", last)
    assert read_particles(tmp_path / "last.star").names == [expanded.names[3]]


def test_names_of_images_lead_to_them_from_another_folder(tmp_path):
    particles = boxes(tmp_path, 2)
    (tmp_path / "far" / "away").mkdir(parents=True)
    write_particles(tmp_path / "p.star", particles)
    assert read_star(tmp_path / "p.star")["particles"]["rlnImageName"][0] == "box_0.mrc"
    particles = read_particles(tmp_path / "p.star")
    write_particles(tmp_path / "far" / "away" / "p.star", particles)
    again = read_particles(tmp_path / "far" / "away" / "p.star")
    assert again.image_paths == particles.image_paths
    # RELION names count from the project folder, above the file.
    names = read_star(tmp_path / "far" / "away" / "p.star")["particles"]["rlnImageName"]
    assert names.tolist() == ["box_0.mrc", "box_1.mrc"]


def series(name, count=5, size=(64, 60, 32)):
    rng = np.random.default_rng(2)
    return TiltSeries(
        name=name,
        tilt_angles_degrees=np.linspace(-40, 50, count),
        tilt_axis_degrees=85.0,
        dose_e_per_angstrom2=np.arange(count) * 3.0,
        defocus_u_angstrom=rng.uniform(2e4, 3e4, count),
        defocus_v_angstrom=rng.uniform(2e4, 3e4, count),
        astigmatism_degrees=rng.uniform(0, 90, count),
        phase_shift_degrees=np.zeros(count),
        voltage_kv=200.0,
        spherical_aberration_mm=2.0,
        amplitude_contrast=0.1,
        pixel_size_angstrom=1.5,
        hand=1,
        size_xyz_px=size,
    )


def test_tilt_series_and_optimisation_set(tmp_path):
    tilts = {"083": series("083"), "7": series("7", count=3)}
    paths = []
    for i, frames in enumerate((5, 3)):
        paths.append(tmp_path / f"stack_{i}.mrcs")
        stack(paths[-1], frames)
    particles = particles_from_tilt_stacks(
        paths,
        pixel_size_angstrom=3.0,
        box_size_px=8,
        tomograms=["083", "7"],
        tilts=tilts,
        coordinates_px=[[10.0, 20.0, 30.0], [1.0, 2.0, 3.0]],
        coordinate_pixel_size_angstrom=1.5,
    )
    write_particles(tmp_path / "p.star", particles)
    write_tomograms(tmp_path / "tomograms.star", tilts)
    write_optimisation_set(
        tmp_path / "set.star", tmp_path / "p.star", {TOMOGRAMS_FILE: tmp_path / "tomograms.star"}
    )
    again = read_particles(tmp_path / "set.star")
    same_particles(particles, again)
    assert again.dialect == "relion5"
    assert "rlnCenteredCoordinateXAngst" in again.blocks["particles"]
    np.testing.assert_allclose(
        again.blocks["particles"]["rlnCenteredCoordinateXAngst"], [(10 - 32) * 1.5, (1 - 32) * 1.5]
    )
    assert again.blocks["particles"]["rlnTomoVisibleFrames"].tolist() == ["[1,1,1,1,1]", "[1,1,1]"]
    for name, tilt in tilts.items():
        found = again.tilts[name]
        np.testing.assert_allclose(found.tilt_angles_degrees, tilt.tilt_angles_degrees, atol=1e-5)
        assert found.tilt_axis_degrees == pytest.approx(85.0, abs=1e-5)
        np.testing.assert_allclose(found.defocus_v_angstrom, tilt.defocus_v_angstrom)
        np.testing.assert_allclose(found.dose_e_per_angstrom2, tilt.dose_e_per_angstrom2)
        assert (found.hand, found.size_xyz_px, found.voltage_kv) == (1, (64, 60, 32), 200.0)


def stack(path, frames, size=8):
    import mrcfile

    rng = np.random.default_rng(frames)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(rng.normal(size=(frames, size, size)).astype(np.float32))
        mrc.set_image_stack()


def test_coordinates_alone(tmp_path):
    particles = particles_from_coordinates(
        [[1.5, 2, 3], [4, 5, 6]], pixel_size_angstrom=4.0, tomograms=["083", "083"]
    )
    for dialect in DIALECTS:
        there = converted(particles, tmp_path, dialect)
        same_particles(particles, there)
        assert there.image_kind == "none"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"names": ["a", "a"]}, "different names"),
        ({"names": ["a"]}, "names: found 1 for 2"),
        ({"shifts_angstrom": np.zeros((3, 3))}, "shifts_angstrom"),
        ({"pixel_size_angstrom": 0.0}, "pixel size"),
        ({"tomograms": []}, "tomograms"),
        ({"rotations": np.eye(3)}, "rotations"),
    ],
)
def test_what_a_set_cannot_be_made_of(change, complaint):
    values = {"pixel_size_angstrom": 2.0, "box_size_px": 8, **change}
    with pytest.raises(InputError, match=complaint):
        particles_from_subtomograms(["a.mrc", "b.mrc"], **values)


def test_a_dialect_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match="expected one of"):
        write_particles(tmp_path / "p.star", boxes(tmp_path, 1), dialect="relion9")


def test_the_version_tells_relion4_from_relion5(tmp_path):
    blocks = relion5_blocks()
    assert recognise(blocks, "p").dialect == "relion5"
    blocks.version = 30001
    assert recognise(blocks, "p").dialect == "relion4"


def test_the_frame_of_the_box_goes_with_a_subset(tmp_path):
    write_star(tmp_path / "p.star", relion5_blocks())
    particles = read_particles(tmp_path / "p.star", require_images=False)
    assert particles.subset(np.array([0])).box_rotations.shape == (1, 3, 3)
    plain = replace(particles, box_rotations=None)
    np.testing.assert_array_equal(plain.box_poses()[0], particles.rotations)


@pytest.mark.slow
def test_many_particles_are_written_and_read_in_seconds(tmp_path):
    count = 200_000
    rng = np.random.default_rng(0)
    particles = particles_from_subtomograms(
        [tmp_path / f"t{i // 1000}" / f"{i}.mrc" for i in range(count)],
        pixel_size_angstrom=2.0,
        box_size_px=32,
        rotations=euler_to_matrix(*rng.uniform(0, 180, (3, count))),
        shifts_angstrom=rng.normal(size=(count, 3)),
    )
    start = time.monotonic()
    write_particles(tmp_path / "p.star", particles)
    again = read_particles(tmp_path / "p.star", require_images=False)
    assert time.monotonic() - start < 90  # about 10 s on an idle core
    assert again.names == particles.names
