"""Every damaged or foreign file gives one line that says what to do, never a crash."""

import re

import numpy as np
import pytest
from test_read import RELION31, write_boxes

from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.tilt_series import read_ctf_star, read_tomograms
from cryodl.errors import InputError

HEAD = "data_particles\nloop_\n_rlnImageName #1\n_rlnAngleRot #2\n"
OPTICS = "data_optics\nloop_\n_rlnOpticsGroup #1\n_rlnImagePixelSize #2\n1 2.0\n\n"
TILTS = """
data_global

loop_
_rlnTomoName #1
_rlnTomoTiltSeriesPixelSize #2
_rlnTomoSizeX #3
_rlnTomoSizeY #4
_rlnTomoSizeZ #5
t1 1.5 64 64 32

data_t1

loop_
_rlnTomoProjX #1
_rlnTomoProjY #2
_rlnTomoProjZ #3
_rlnTomoProjW #4
[1,0,0,0] [0,1,0,0] [0,0,1,0] [0,0,0,1]
"""

STARS = {
    "nothing": "",
    "blank": "\n\n\n",
    "not a star": "hello world\n",
    "binary": "data_\x00\x01\x02",
    "no table": "data_particles\n\n_rlnImageName a.mrc\n",
    "a loop without columns": "data_particles\nloop_\na b c\n",
    "a table without rows": HEAD,
    "an empty block": "data_particles\n\ndata_optics\n",
    "a row that is short": HEAD + "a.mrc 1\nb.mrc\n",
    "a row that is long": HEAD + "a.mrc 1\nb.mrc 1 2 3\n",
    "a quote that is open": HEAD + '"a.mrc 1\nb.mrc 2\n',
    "two columns of one name": HEAD.replace("AngleRot", "ImageName") + "a b\n",
    "two blocks of one name": OPTICS + OPTICS + HEAD + "a.mrc 1\n",
    "no particles": OPTICS,
    "micrographs": "data_micrographs\nloop_\n_rlnMicrographName #1\na.mrc\n",
    "movies": "data_m\nloop_\n_rlnMicrographMovieName #1\n_rlnImageName #2\na b\n",
    "tables of M": "data_particles\nloop_\n_wrpCoordinateX1 #1\n1.0\n",
    "tomograms": TILTS,
    "no pixel size, no image": HEAD + "gone.mrc 1\n",
    "an unknown optics group": OPTICS + HEAD.replace("AngleRot", "OpticsGroup") + "boxes/a.mrc 7\n",
    "a pixel size of 0": OPTICS.replace("2.0", "0") + HEAD + "gone.mrc 0\n",
    "a pixel size that is text": OPTICS.replace("2.0", "two") + HEAD + "gone.mrc 0\n",
    "an angle that is text": OPTICS + HEAD + "boxes/a.mrc north\n",
    "an infinite angle": OPTICS + HEAD + "boxes/a.mrc inf\n",
    "an angle beyond all sense": OPTICS + HEAD + "boxes/a.mrc 1e300\n",
    "no name of an image": OPTICS + HEAD + "@boxes/a.mrc 0\n",
    "image number 0": OPTICS + HEAD + "000000@boxes/a.mrc 0\n",
    "image number beyond": OPTICS + HEAD + "99999@boxes/a.mrc 0\n",
    "a negative image number": OPTICS + HEAD + "-1@boxes/a.mrc 0\n",
    "an image that is a folder": OPTICS + HEAD + "boxes 0\n",
    "an image that is text": OPTICS + HEAD + "text.mrc 0\n",
    "an image that is cut off": OPTICS + HEAD + "cut.mrc 0\n",
    "an empty image": OPTICS + HEAD + "empty.mrc 0\n",
    "a NUL in a name": OPTICS + HEAD + "a\x00b.mrc 0\n",
    "a name that is too long": OPTICS + HEAD + "a" * 5000 + ".mrc 0\n",
    "coordinates that are not numbers": "data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n"
    "_rlnCoordinateZ #3\nnan nan nan\n",
    "a set without particles": "data_\n_rlnTomoTomogramsFile t.star\n",
    "a set whose particles are gone": "data_\n_rlnTomoParticlesFile gone.star\n",
    "a set of itself": "data_\n_rlnTomoParticlesFile bad.star\n",
    "a set of a folder": "data_\n_rlnTomoParticlesFile boxes\n",
    "a set whose tomograms are particles": "data_\n_rlnTomoParticlesFile good.star\n"
    "_rlnTomoTomogramsFile good.star\n",
}

TOMOGRAMS = {
    "no global table": HEAD + "a.mrc 1\n",
    "no tilts": TILTS.replace("data_t1", "data_t2"),
    "a tilt series file that is gone": TILTS.replace("data_t1", "data_t2").replace(
        "_rlnTomoTiltSeriesPixelSize #2",
        "_rlnTomoTiltSeriesPixelSize #2\n_rlnTomoTiltSeriesStarFile #6",
    ),
    "two of one name": TILTS.replace("t1 1.5 64 64 32", "t1 1.5 64 64 32\nt1 1.5 64 64 32"),
    "no pixel size": TILTS.replace("t1 1.5", "t1 0"),
    "three numbers": TILTS.replace("[1,0,0,0]", "[1,0,0]"),
    "a number that is text": TILTS.replace("[1,0,0,0]", "[1,0,x,0]"),
    "a number that is not finite": TILTS.replace("[1,0,0,0]", "[1,0,nan,0]"),
    "no geometry": TILTS.replace("rlnTomoProj", "rlnTomoOther"),
    "an angle that is not finite": TILTS.replace("rlnTomoProjX", "rlnTomoYTilt").replace(
        "[1,0,0,0]", "nan"
    ),
}

COORDINATES = {
    "nothing": "",
    "comments alone": "# a\n# b\n",
    "two columns": "1 2\n3 4\n",
    "six columns": "1 2 3 4 5 6\n",
    "a short row": "1 2 3\n4 5\n",
    "a long row": "1 2 3\n4 5 6 7\n",
    "words": "one two three\n",
    "a word": "1 2 3\n4 x 6\n",
    "not finite": "1 2 nan\n",
    "infinite": "1 2 inf\n",
    "too large": "1 2 1e12\n",
    "an underscore in a number": "1 2 1_0\n",
    "contours that are no whole numbers": "1.5 1 1.0 2.0 3.0\n",
    "names without z": "x,y,score\n1,2,3\n",
    "a name twice": "x,y,z,x\n1,2,3,4\n",
    "names alone": "x,y,z\n",
    "a short row below names": "x,y,z\n1,2\n",
    "a word below names": "x,y,z\n1,2,three\n",
    "a score that is a word": "x,y,z,score\n1,2,3,high\n",
    "binary": "\x00\x01\x02\x03",
}


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert re.search("expected|give|correct|make", text)
    assert len(text) < 20000


@pytest.fixture
def folder(tmp_path):
    write_boxes(tmp_path / "boxes")
    whole = (tmp_path / "boxes" / "a.mrc").read_bytes()
    (tmp_path / "cut.mrc").write_bytes(whole[:-100])
    (tmp_path / "text.mrc").write_text("hello" * 500)
    (tmp_path / "empty.mrc").touch()
    (tmp_path / "good.star").write_text(RELION31)
    return tmp_path


@pytest.mark.parametrize("what", STARS)
def test_particles(what, folder):
    (folder / "bad.star").write_text(STARS[what])
    with pytest.raises(InputError) as error:
        read_particles(folder / "bad.star")
    one_line(error)


@pytest.mark.parametrize("what", TOMOGRAMS)
def test_tomograms(what, tmp_path):
    (tmp_path / "bad.star").write_text(TOMOGRAMS[what])
    with pytest.raises(InputError) as error:
        read_tomograms(tmp_path / "bad.star")
    one_line(error)


@pytest.mark.parametrize("what", COORDINATES)
@pytest.mark.parametrize("suffix", ["txt", "star"])
def test_coordinates(what, suffix, tmp_path):
    (tmp_path / f"bad.{suffix}").write_text(COORDINATES[what])
    with pytest.raises(InputError) as error:
        read_coordinates(tmp_path / f"bad.{suffix}")
    one_line(error)


@pytest.mark.parametrize(
    "text",
    ["", "data_\nloop_\n_rlnDefocusU\n1\n", "data_\nloop_\n_rlnAngleTilt\nnan\n"],
)
def test_ctf_files(text, tmp_path):
    (tmp_path / "bad.star").write_text(text)
    with pytest.raises(InputError) as error:
        read_ctf_star(tmp_path / "bad.star", 2.0)
    one_line(error)


def test_files_that_cannot_be_opened(tmp_path):
    for path in (tmp_path, tmp_path / "gone.star", tmp_path / ("a" * 300 + ".star")):
        with pytest.raises(InputError) as error:
            read_particles(path)
        one_line(error)
    (tmp_path / "latin.txt").write_bytes("é 1 2".encode("latin-1"))
    with pytest.raises(InputError, match="not text"):
        read_coordinates(tmp_path / "latin.txt")


def test_a_pixel_size_that_makes_no_sense(folder):
    with pytest.raises(InputError, match="pixel size -1"):
        read_particles(folder / "good.star", pixel_size_angstrom=-1.0)


def test_a_good_file_is_not_refused(folder):
    assert len(read_particles(folder / "good.star", folder=folder)) == 2
    (folder / "t.star").write_text(TILTS)
    assert np.isfinite(read_tomograms(folder / "t.star")["t1"].tilt_angles_degrees).all()
