"""Tilt ranges from CTF volumes."""

import numpy as np
import pytest
from subvolume_cases import particles, write_set

from cryodl.core.fourier.wedge import missing_wedge, tilt_sampling
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.star import read_star, write_star
from cryodl.methods.autoencoder3d.ctf_ranges import range_of_weight
from cryodl.methods.autoencoder3d.recordings import recordings_of


@pytest.mark.parametrize(
    "n, low, high, axis", [(32, -60, 60, 90), (33, -40, 65, -30), (16, -45, 50, 0)]
)
def test_a_wedge_tells_its_range_and_axis(n, low, high, axis):
    found = range_of_weight(missing_wedge(n, low, high, tilt_axis_degrees=axis, edge_px=0.2))
    assert np.abs(np.subtract(found, (low, high, axis))).max() <= (3 if n > 16 else 5)


def test_slabs_under_an_oscillating_ctf_tell_it_too():
    n = 48
    z, y, x = np.indices((n,) * 3) - n // 2
    ctf = np.cos(0.02 * (x**2 + y**2 + z**2))
    slabs = tilt_sampling(n, np.arange(-54, 55, 3), tilt_axis_degrees=70)
    found = range_of_weight((slabs * ctf).astype(np.float32))
    assert np.abs(np.subtract(found, (-54, 54, 70))).max() <= 6


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_or_all_measured_is_no_range(value):
    assert range_of_weight(np.full((16,) * 3, value, dtype=np.float32)) is None


def test_ctf_volumes_of_a_star_file_are_what_was_measured(tmp_path):
    boxes, _ = particles((3, 3))
    star = write_set(tmp_path, boxes)
    for number, tilt in enumerate((60, 45)):
        weight = missing_wedge(16, -tilt, tilt, tilt_axis_degrees=0)
        write_volume(tmp_path / f"ctf{number}.mrc", weight, pixel_size_angstrom=10)
    blocks = read_star(star)
    name = "particles" if "particles" in blocks else list(blocks)[-1]
    blocks[name]["rlnCtfImage"] = [f"ctf{i % 2}.mrc" for i in range(6)]
    write_star(star, blocks)
    found = recordings_of(read_particles(star), None, "y")
    assert found.kinds.tolist() == [0, 1] * 3
    assert np.abs(np.subtract(found.ranges, [(-60, 60, 0), (-45, 45, 0)])).max() <= 5
    given = recordings_of(read_particles(star), (-50.0, 50.0), "y")
    assert given.ranges == [(-50.0, 50.0, 90.0)]
    (tmp_path / "ctf1.mrc").unlink()
    write_volume(tmp_path / "ctf1.mrc", np.ones((8,) * 3, np.float32), pixel_size_angstrom=10)
    assert not recordings_of(read_particles(star), None, "y").known
