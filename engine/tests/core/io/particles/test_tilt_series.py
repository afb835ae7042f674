from dataclasses import replace

import numpy as np
import pytest
from test_write import series

from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.tilt_series import (
    axis_rotation,
    particle_tilts,
    projection_matrices,
    read_ctf_star,
    read_tomograms,
    tilt_geometry,
)
from cryodl.core.io.particles.write_tomograms import write_tomograms
from cryodl.errors import InputError

RELION5 = """
# version 50001

data_global

loop_
_rlnTomoName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnTomoHand #5
_rlnTomoTiltSeriesPixelSize #6
_rlnTomoTiltSeriesStarFile #7
_rlnTomoSizeX #8
_rlnTomoSizeY #9
_rlnTomoSizeZ #10
083 200 2.1 0.08 -1 1.35 Align/tilt_series/083.star 400 300 200
"""

RELION5_TILTS = """
data_083

loop_
_rlnMicrographName #1
_rlnTomoXTilt #2
_rlnTomoYTilt #3
_rlnTomoZRot #4
_rlnTomoXShiftAngst #5
_rlnTomoYShiftAngst #6
_rlnDefocusU #7
_rlnDefocusV #8
_rlnDefocusAngle #9
_rlnMicrographPreExposure #10
a.mrc 0 -60 85 13.5 -2.7 20000 21000 30 6
b.mrc 0 0 85 0 0 20100 21100 31 0
c.mrc 0 57 85 1.35 0 20200 21200 32 3
"""


def test_tilt_series_of_relion5(tmp_path):
    folder = tmp_path / "project" / "Job"
    folder.mkdir(parents=True)
    (folder / "tomograms.star").write_text(RELION5)
    table = tmp_path / "project" / "Align" / "tilt_series" / "083.star"
    table.parent.mkdir(parents=True)
    table.write_text(RELION5_TILTS)
    tilts = read_tomograms(folder / "tomograms.star")["083"]
    np.testing.assert_allclose(tilts.tilt_angles_degrees, [-60, 0, 57], atol=1e-9)
    assert tilts.tilt_axis_degrees == pytest.approx(90.0)
    np.testing.assert_array_equal(tilts.dose_e_per_angstrom2, [6, 0, 3])
    np.testing.assert_array_equal(tilts.defocus_v_angstrom, [21000, 21100, 21200])
    assert (tilts.voltage_kv, tilts.hand, tilts.size_xyz_px) == (200.0, -1, (400, 300, 200))
    # The middle of the tomogram comes to the middle of the image, moved by the shift.
    middle = tilts.projections @ [200, 150, 100, 1]
    np.testing.assert_allclose(middle[:, :2], [[210, 148], [200, 150], [201, 150]], atol=1e-9)
    # A point along x is seen along the rotated x of the image, shortened by the tilt.
    ahead = tilts.projections @ [210, 150, 100, 1] - middle
    turn = np.deg2rad(85)
    expected = 10 * np.cos(np.deg2rad([60, 0, 57]))[:, None] * [np.cos(turn), np.sin(turn)]
    np.testing.assert_allclose(ahead[:, :2], expected, atol=1e-9)


@pytest.mark.parametrize("axis", [-40.0, 0.0, 30.0, 85.0, 90.0, 130.0])
def test_angles_and_axis_of_projections(axis):
    """Rotations about a known axis, and any rotation of the image after them."""
    angles = np.linspace(-50, 62, 9)
    direction = np.array([np.cos(np.deg2rad(axis)), np.sin(np.deg2rad(axis)), 0])
    rotations = rodrigues(direction, angles)
    turned = axis_rotation(np.linspace(0, 300, 9), 2) @ rotations
    for matrices in (rotations, turned):
        found, found_axis = tilt_geometry(matrices)
        assert found_axis == pytest.approx(axis, abs=1e-8)
        np.testing.assert_allclose(found, angles, atol=1e-8)
    tilts = replace(series("t", 9), tilt_axis_degrees=axis, tilt_angles_degrees=angles)
    np.testing.assert_allclose(projection_matrices(tilts)[:, :, :3], rotations, atol=1e-12)


def rodrigues(axis, degrees):
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.deg2rad(degrees)[:, None, None]
    return np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * (cross @ cross)


def test_the_beam_runs_as_the_model_says():
    angles, axis = np.array([-30.0, 10.0, 60.0]), np.deg2rad(70.0)
    tilts = replace(series("t", 3), tilt_axis_degrees=70.0, tilt_angles_degrees=angles)
    t = np.deg2rad(angles)
    expected = [-np.sin(t) * np.sin(axis), np.sin(t) * np.cos(axis), np.cos(t)]
    np.testing.assert_allclose(projection_matrices(tilts)[:, 2, :3], np.transpose(expected))


def test_no_tilt_at_all_has_an_axis():
    assert tilt_geometry(np.tile(np.eye(3), (4, 1, 1)))[1] == 90.0


CTF = """
data_images

loop_
_rlnDefocusU #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnAngleRot #5
_rlnAngleTilt #6
_rlnAnglePsi #7
_rlnCtfBfactor #8
_rlnCtfScalefactor #9
30000 300 2.7 0.1 0 -48 0 -12 0.67
30100 300 2.7 0.1 0 0 0 0 1.0
30200 300 2.7 0.1 0 51 0 -24 0.63
"""


def test_ctf_star_file_of_a_subtomogram(tmp_path):
    (tmp_path / "ctf.star").write_text(CTF)
    tilts = read_ctf_star(tmp_path / "ctf.star", 2.5, name="t1")
    # RELION's rotation of the reference turns the specimen the other way.
    np.testing.assert_allclose(tilts.tilt_angles_degrees, [48, 0, -51], atol=1e-9)
    np.testing.assert_allclose(tilts.dose_e_per_angstrom2, [3, 0, 6])
    assert tilts.bfactor is None
    np.testing.assert_array_equal(tilts.defocus_v_angstrom, [30000, 30100, 30200])
    np.testing.assert_array_equal(tilts.scale, [0.67, 1.0, 0.63])
    assert (tilts.name, tilts.pixel_size_angstrom) == ("t1", 2.5)


def test_the_tilts_of_one_particle(tmp_path):
    (tmp_path / "ctf.star").write_text(CTF)
    common = {"pixel_size_angstrom": 2.0, "box_size_px": 8, "tomograms": ["t"]}
    tomogram = {"t": series("t", 7)}
    own = particles_from_subtomograms(
        ["a.mrc"], **common, ctf_paths=[tmp_path / "ctf.star"], tilts=tomogram
    )
    assert len(particle_tilts(own, 0).tilt_angles_degrees) == 3
    volume = particles_from_subtomograms(["a.mrc"], **common, ctf_paths=["c.mrc"], tilts=tomogram)
    assert len(particle_tilts(volume, 0).tilt_angles_degrees) == 7
    assert particle_tilts(particles_from_subtomograms(["a.mrc"], **common), 0) is None


def test_columns_of_different_lengths_are_not_written(tmp_path):
    wrong = replace(series("t"), dose_e_per_angstrom2=np.zeros(2))
    with pytest.raises(InputError, match="expected 5"):
        write_tomograms(tmp_path / "t.star", {"t": wrong})
    with pytest.raises(InputError, match="no tilt series"):
        write_tomograms(tmp_path / "t.star", {})


def test_a_dose_of_its_own_leaves_the_bfactor(tmp_path):
    text = CTF.replace("_rlnDefocusU #1", "_rlnMicrographPreExposure #1").replace("30000", "3.5")
    (tmp_path / "ctf.star").write_text(text)
    tilts = read_ctf_star(tmp_path / "ctf.star", 2.5)
    assert tilts.dose_e_per_angstrom2[0] == 3.5
    np.testing.assert_array_equal(tilts.bfactor, [-12, 0, -24])
    positive = CTF.replace(" -12 ", " 12 ").replace(" -24 ", " 24 ")
    (tmp_path / "ctf.star").write_text(positive)
    found = read_ctf_star(tmp_path / "ctf.star", 2.5)
    np.testing.assert_allclose(found.dose_e_per_angstrom2, [3, 0, 6])
