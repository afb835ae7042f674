"""``cryodl particles extract`` on a tomogram of 8 GB, with 2 GB of memory."""

import json
import subprocess
import sys

import numpy as np

from cryodl.core.io.mrc_header import build_header
from cryodl.core.io.particles.images import read_subtomogram
from cryodl.core.io.particles.read import read_particles

SHAPE_ZYX = (512, 2048, 2048)
FIRST_Z, FIRST_Y, FIRST_X, ROOM_PX = 180, 900, 700, 90
# Of the whole process; pages of the mapped file are not the process's own and do not count.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (1 << 31, 1 << 31))
from cryodl.cli import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
sys.exit(status)
"""


def write_sparse(path, room):
    """Write a tomogram that holds noise in one room and nothing on the disk elsewhere."""
    header = build_header(SHAPE_ZYX, 7.5, (0, 0, 0, 0), (0, 0, 0), (0, 0, 0), ())
    _, height, width = SHAPE_ZYX
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + 4 * int(np.prod(SHAPE_ZYX)))
        for z, section in enumerate(room, start=FIRST_Z):
            for y, row in enumerate(section, start=FIRST_Y):
                stream.seek(len(header) + 4 * ((z * height + y) * width + FIRST_X))
                stream.write(row.astype("<f4").tobytes())


def test_a_tomogram_of_8_gigabytes_in_2_of_memory(tmp_path):
    room = np.random.default_rng(0).normal(size=(ROOM_PX,) * 3).astype(np.float32)
    write_sparse(tmp_path / "huge.mrc", room)
    assert (tmp_path / "huge.mrc").stat().st_size > 8 << 30
    whole = np.array([FIRST_X + 40, FIRST_Y + 45, FIRST_Z + 50])
    np.savetxt(tmp_path / "huge.txt", [whole, whole + 0.4, whole - 3.3], fmt="%.2f")
    words = ["particles", "extract", "--tomograms", str(tmp_path / "huge.mrc")]
    words += ["--coordinates", str(tmp_path / "huge.txt"), "--box-size-px", "25"]
    words += ["--ncpus", "1", "--normalise", "none", "--output", str(tmp_path / "run")]
    command = [sys.executable, "-c", LIMITED, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/result.json").read_text())["kept"] == 3
    particles = read_particles(tmp_path / "run/particles.star")
    np.testing.assert_array_equal(
        read_subtomogram(particles, 0), room[38:63, 33:58, 28:53], strict=True
    )
    assert int(done.stdout.split()[-1]) < 1 << 31
