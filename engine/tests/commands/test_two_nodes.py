"""Every training command on two nodes that meet at the loopback address.

Two agents of torchrun, or two tasks with the variables that srun sets. The second node runs the
same command, computes its share, and writes nothing of its own.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.write import write_particles

pytestmark = pytest.mark.slow
PIXEL, BOX, COUNT = 10.0, 16, 16
SECONDS = 300
PROGRAM = "import sys; from cryodl.cli import main; sys.exit(main(sys.argv[1:]))"


def blob(edge, place=(0, 0, 0), width=3.0):
    axes = np.mgrid[:edge, :edge, :edge] - edge // 2
    return np.exp(-sum((a - p) ** 2 for a, p in zip(axes, place, strict=True)) / width**2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Subtomograms, a reference, half maps with a mask, and a tomogram with coordinates."""
    folder, random = tmp_path_factory.mktemp("nodes"), np.random.default_rng(0)

    def write(name, values):
        write_volume(folder / name, values.astype(np.float32), pixel_size_angstrom=PIXEL)
        return folder / name

    def noisy(values, share=0.3):
        return values + share * random.standard_normal(values.shape)

    pair = blob(BOX, (0, 2, 2)) + 0.6 * blob(BOX, (-3, -2, 0), 2.0)
    paths = [write(f"box{i}.mrc", noisy(pair)) for i in range(COUNT)]
    particles = particles_from_subtomograms(
        paths,
        pixel_size_angstrom=PIXEL,
        box_size_px=BOX,
        rotations=random_rotations(COUNT, random),
        half_sets=np.arange(COUNT) % 2 + 1,
    )
    write_particles(folder / "particles.star", particles)
    write("reference.mrc", pair)
    whole = blob(24, (1, 2, -2), 5.0)
    for half in (1, 2):
        write(f"half{half}.mrc", noisy(whole, 0.1))
    write("mask.mrc", blob(24, width=8.0) > 0.3)
    tomogram, points = np.zeros((32, 64, 64)), []
    for y in (12, 28, 44):
        for x in (12, 28, 44):
            tomogram[8:24, y - 8 : y + 8, x - 8 : x + 8] -= pair
            points.append((x, y, 16))
    write("tomogram.mrc", noisy(tomogram, 0.1))
    np.savetxt(folder / "points.txt", points)
    return folder


STAR = "{data}/particles.star"
COMMANDS = {
    "spisonet": [
        *["spisonet", "correct", "{data}/half1.mrc", "{data}/half2.mrc", "--width", "16"],
        *["--mask", "{data}/mask.mrc", "--epochs", "1", "--n-subvolume", "4", "--batch-size", "2"],
        *["--cube-size", "16", "--predict-crop-size", "32"],
    ],
    "cet-pick": [
        *["cet-pick", "train", "--tomograms", "{data}/tomogram.mrc", "--bbox", "10"],
        *["--coordinates", "{data}/points.txt", "--steps", "2", "--crop-px", "32"],
        *["--batch-size", "2", "--crop-slices", "3"],
    ],
    "selfalign": [
        *["selfalign", "train", "--reference", "{data}/reference.mrc", "--preset", "refcnn"],
        *["--steps", "2", "--batch-size", "4", "--tilt-min", "-60", "--tilt-max", "60"],
    ],
    "autoencoder3d": [
        *["autoencoder3d", "train", STAR, "--preset", "tiny", "--epochs", "1"],
        *["--batch-size", "4", "--network-box-px", "16"],
    ],
    "opus-tomo": [
        *["opus-tomo", "train", STAR, "--preset", "demo", "--templateres", "16", "--zdim", "3"],
        *["--epochs", "1", "--batch-size", "4", "--tilt-min", "-60", "--tilt-max", "60"],
    ],
}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def torchrun(rank, port):
    """Return the command of one agent, and what it adds to the environment."""
    words = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    words += ["--node-rank", str(rank), "--master-addr", "127.0.0.1", "--master-port", str(port)]
    return words, {}


def srun(rank, port):
    """Return what srun would give each of two tasks on two nodes."""
    return [], {
        "SLURM_JOB_ID": str(port),
        "SLURM_JOB_NAME": "cryodl",
        "SLURM_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_NNODES": "2",
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(rank),
        "SLURM_LOCALID": "0",
        "MASTER_PORT": str(port),
    }


def run_on_two_nodes(launcher, words, folder):
    """Start a process for each node; return how they ended and what they said."""
    script, port = folder / "program.py", free_port()
    script.write_text(PROGRAM)
    common = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    nodes = []
    for rank in (0, 1):
        before, environment = launcher(rank, port)
        command = [
            sys.executable,
            *before,
            str(script),
            *words,
            "--launcher",
            launcher_name(launcher),
        ]
        nodes.append(
            subprocess.Popen(
                command,
                cwd=folder,
                env={**common, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [node.communicate(timeout=SECONDS)[1] for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    return [node.returncode for node in nodes], said


def launcher_name(launcher):
    return "torchrun" if launcher is torchrun else "slurm"


CASES = [(torchrun, method) for method in COMMANDS] + [(srun, "autoencoder3d")]


@pytest.mark.parametrize(("launcher", "method"), CASES)
def test_two_nodes_train_one_network(data, tmp_path, launcher, method):
    output = tmp_path / "run"
    words = [word.format(data=data) for word in COMMANDS[method]]
    words += ["--output", str(output), "--devices", "cpu"]
    status, said = run_on_two_nodes(launcher, words, tmp_path)
    assert status == [0, 0], said
    result = json.loads((output / "result.json").read_text())
    assert result["files"]
    assert [name for name in result["files"] if not Path(output, str(name)).exists()] == []
    log = (output / "log.txt").read_text()
    assert log.count("2 x cpu") == log.count("Training") >= 1
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == len({(line.get("phase"), line["epoch"]) for line in lines})
    assert not [path for path in output.rglob("*") if path.name.endswith(".tmp")]
