from pathlib import Path

import numpy as np
import pytest

from cryodl.core.geometry.rotations import euler_to_matrix
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.read import read_particles
from cryodl.errors import InputError

SHARED = Path(__file__).resolve().parents[5].parent / "shared" / "data"

RELION31 = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
_rlnMicrographPixelSize #9
1 opticsGroup1 300 2.7 0.07 2.0 8 3 4.0
2 opticsGroup2 300 2.7 0.07 3.0 8 3 4.0

data_particles

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnCoordinateZ #4
_rlnAngleRot #5
_rlnAngleTilt #6
_rlnAnglePsi #7
_rlnOriginXAngst #8
_rlnOriginYAngst #9
_rlnOriginZAngst #10
_rlnImageName #11
_rlnOpticsGroup #12
_rlnRandomSubset #13
_rlnClassNumber #14
083 10 20 30 30 50 70 3 -4 5 boxes/a.mrc 1 1 2
083 11 21 31 0 0 0 0 0 0 boxes/gone.mrc 1 2 1
7 12 22 32 nan 0 0 0 0 0 boxes/b.mrc 2 2 1
7 13 23 33 0 90 0 1 2 3 boxes/c.mrc 2 2 3
"""


def write_boxes(folder, names=("a", "b", "c"), size=8):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        data = rng.normal(size=(size,) * 3).astype(np.float32)
        write_volume(folder / f"{name}.mrc", data, pixel_size_angstrom=2.0)


@pytest.fixture
def star(tmp_path):
    write_boxes(tmp_path / "boxes")
    path = tmp_path / "job" / "run_data.star"
    path.parent.mkdir()
    path.write_text(RELION31)
    return path


def test_subtomograms_of_relion31(star):
    particles = read_particles(star)
    assert particles.dialect == "relion31"
    assert particles.image_kind == "volume"
    assert particles.names == ["boxes/a.mrc", "boxes/c.mrc"]
    assert particles.tomograms == ["083", "7"]
    assert particles.box_size_px == 8
    np.testing.assert_array_equal(particles.pixel_size_angstrom, [2.0, 3.0])
    np.testing.assert_array_equal(particles.coordinate_pixel_size_angstrom, [4.0, 4.0])
    np.testing.assert_array_equal(particles.coordinates_px, [[10, 20, 30], [13, 23, 33]])
    np.testing.assert_allclose(particles.rotations[0], euler_to_matrix(30, 50, 70))
    np.testing.assert_array_equal(particles.shifts_angstrom, [[3, -4, 5], [1, 2, 3]])
    np.testing.assert_array_equal(particles.half_sets, [1, 2])
    np.testing.assert_array_equal(particles.classes, [2, 3])
    assert particles.image_paths[0] == star.parents[1] / "boxes" / "a.mrc"
    assert len(particles.blocks["particles"]) == 2


def test_the_report_says_what_was_dropped_and_why(star):
    report = read_particles(star).report
    assert (report.read, report.kept) == (4, 2)
    assert dict(report.dropped) == {
        "the image file does not exist": 1,
        "the pose is not a finite number": 1,
    }
    assert read_particles(star, require_images=False).report.kept == 3


def with_tilts(star, *rows):
    """Give the four particles tilt ranges, as `particles extract` writes them."""
    lines = star.read_text().rstrip().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("_rlnClassNumber")) + 1
    table = [f"{line} {more}" for line, more in zip(lines[at:], rows)]
    star.write_text("\n".join([*lines[:at], "_cdlTiltMin #15", "_cdlTiltMax #16", *table, ""]))


def test_tilt_range_is_read(star):
    assert read_particles(star).tilt_range_degrees is None
    # The second and third particle are dropped, whatever their tilts are.
    with_tilts(star, "-50 60", "-40 40", "nan nan", "-50 60")
    particles = read_particles(star)
    assert particles.tilt_range_degrees == (-50, 60)
    assert not any("tilt range" in remark for remark in particles.report.remarks)
    given = read_particles(star, tilt_range_degrees=(-45, 45))
    assert given.tilt_range_degrees == (-45, 45)


@pytest.mark.parametrize(
    "last, remark",
    [("-40 60", "differ between particles"), ("60 -50", "differ"), ("nan 60", "differ")],
)
def test_tilt_ranges_that_differ_are_none(star, last, remark):
    with_tilts(star, "-50 60", "-50 60", "-50 60", last)
    particles = read_particles(star)
    assert particles.tilt_range_degrees is None
    assert any(remark in line for line in particles.report.remarks)


@pytest.mark.parametrize("tilts", ["60 -50", "nan nan", "0 0", "-500 60"])
def test_tilt_range_that_is_none(star, tilts):
    with_tilts(star, *[tilts] * 4)
    particles = read_particles(star)
    assert particles.tilt_range_degrees is None
    assert any("no tilt range can be read" in line for line in particles.report.remarks)


def test_a_link_to_a_file_leads_to_its_images(star, tmp_path):
    (tmp_path / "boxes").rename(star.parent / "boxes")
    elsewhere = tmp_path / "pipeline"
    elsewhere.mkdir()
    (elsewhere / "particles.star").symlink_to(star)
    particles = read_particles(elsewhere / "particles.star")
    assert particles.report.dropped == read_particles(star).report.dropped
    assert particles.image_paths[0].is_file()


def test_pixel_sizes_that_only_headers_know_may_differ(star):
    data = np.random.default_rng(1).normal(size=(8, 8, 8)).astype(np.float32)
    write_volume(star.parents[1] / "boxes" / "c.mrc", data, pixel_size_angstrom=3.0)
    star.write_text("data_particles" + RELION31.partition("data_particles")[2])
    particles = read_particles(star)
    np.testing.assert_array_equal(particles.pixel_size_angstrom, [2.0, 3.0])


def test_a_pixel_size_that_the_images_deny_is_told(star):
    data = np.random.default_rng(1).normal(size=(8, 8, 8)).astype(np.float32)
    for path in (star.parents[1] / "boxes").iterdir():
        write_volume(path, data, pixel_size_angstrom=2.0 if path.stem == "a" else 3.0)
    assert not read_particles(star).report.remarks
    write_volume(star.parents[1] / "boxes" / "a.mrc", data, pixel_size_angstrom=4.0)
    assert "2 A, the header of an image 4 A" in " ".join(read_particles(star).report.remarks)
    assert not read_particles(star, pixel_size_angstrom=2.0).report.remarks


def test_a_given_pixel_size_goes_for_points_too(tmp_path):
    path = tmp_path / "points.star"
    path.write_text(
        "data_\nloop_\n_rlnMicrographName\n_rlnMicrographPixelSize\n_rlnCoordinateX\n"
        "_rlnCoordinateY\n_rlnCoordinateZ\nt 4.0 1 2 3\n"
    )
    for given, expected in ((None, 4.0), (7.0, 7.0)):
        points = read_particles(path, pixel_size_angstrom=given)
        assert points.pixel_size_angstrom[0] == expected
        assert points.coordinate_pixel_size_angstrom[0] == expected


def test_a_folder_of_images_that_is_not_there_is_refused(star, tmp_path):
    with pytest.raises(InputError, match="absent: found no such folder"):
        read_particles(star, folder=tmp_path / "absent")
