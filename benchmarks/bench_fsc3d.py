"""Time, memory and error of the 3DFSC at several box sizes.

    OMP_NUM_THREADS=1 python benchmarks/bench_fsc3d.py 64 128 256 360

Each case is a process of its own that reads two half maps, computes the 3DFSC up to Nyquist and
ends; its CPU time (user and system, interpreter start included) and its largest memory are those
the system reports. The error is against the definition, evaluated directly in double precision at
random voxels of all shells.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import scipy.fft

CASE = """
import sys
import numpy as np
from cryodl.core.io.mrc import read_volume
from cryodl.methods.spisonet.fsc3d import compute_fsc3d
first, second = (read_volume(path) for path in sys.argv[1:3])
result = compute_fsc3d(
    first.data, second.data, None, first.pixel_size_angstrom,
    limit_resolution_angstrom=2 * first.pixel_size_angstrom, mode=sys.argv[4],
    estimator=sys.argv[5], cone_half_angle_degrees=float(sys.argv[6]),
)
np.save(sys.argv[3], result.volume)
print(result.limit_shell)
"""


def write_halves(folder: Path, n: int) -> list[Path]:
    """Write two maps of one signal, that falls off with the radius, and independent noise."""
    from cryodl.core.fourier.grids import half_radius_grid_px
    from cryodl.core.io.mrc import write_volume

    falloff = 2 * np.exp(-((half_radius_grid_px(n) / (0.25 * n)) ** 2))
    signal, *noises = (
        np.random.default_rng(seed).standard_normal((n, n, n), dtype=np.float32)
        for seed in range(3)
    )
    signal = scipy.fft.irfftn(scipy.fft.rfftn(signal) * falloff, s=(n, n, n))
    paths = [folder / f"half{i}_{n}.mrc" for i in (1, 2)]
    for path, noise in zip(paths, noises):
        write_volume(path, signal + noise, pixel_size_angstrom=1.0)
    return paths


def run_case(halves: list[Path], out: Path, *settings: str) -> tuple[float, float, int]:
    """Return CPU seconds, largest memory in GB and limit shell of one process."""
    command = [sys.executable, "-c", CASE, *map(str, halves), str(out), *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"a case of {halves[0].name} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6, int(text)


def direct_values(
    halves: list[Path], voxels_zyx: np.ndarray, estimator: str, angle_degrees: float
) -> np.ndarray:
    """Evaluate the definition at some centred voxels, in double precision."""
    from cryodl.core.fourier.grids import centred_axis_px
    from cryodl.core.io.mrc import read_volume

    first, second = (scipy.fft.fftn(read_volume(p).data.astype(np.float64)) for p in halves)
    n = first.shape[0]
    values = []
    for p in voxels_zyx:
        shell = int(np.rint(np.linalg.norm(p)))
        chord = 2 * shell * np.sin(np.radians(angle_degrees) / 2)
        near = [centred_axis_px(n)[np.abs(centred_axis_px(n) - c) <= chord] for c in p]
        q = np.stack(np.meshgrid(*near, indexing="ij"), axis=-1).reshape(-1, 3)
        same_shell = np.rint(np.linalg.norm(q, axis=1)) == shell
        q = q[same_shell & (((q - p) ** 2).sum(axis=1) <= chord**2 + 1e-6)]
        a, b = (f[tuple(q.T)] for f in (first, second))
        cross = (a * b.conj()).real
        if estimator == "fsc":
            values.append(cross.sum() / np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum()))
        else:
            values.append((cross / abs(a * b)).mean())
    return np.array(values)


def random_voxels(n: int, last_shell: int, count: int) -> np.ndarray:
    """Draw frequencies (z, y, x) with shells spread evenly from 1 to the last."""
    rng = np.random.default_rng(7)
    direction = rng.normal(size=(4 * count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    voxels = np.rint(direction * rng.uniform(1, last_shell, (4 * count, 1))).astype(int)
    shell = np.rint(np.linalg.norm(voxels, axis=1))
    return voxels[(shell >= 1) & (shell <= last_shell)][:count]


def main() -> None:
    """Print one line for each box, mode and estimator."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("boxes", type=int, nargs="*", default=[64, 128, 256, 360])
    parser.add_argument("--angle", type=float, default=10.0, help="cone half-angle in degrees")
    options = parser.parse_args()
    print("  box mode   estimator    CPU s  memory GB   max error   rms error")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in options.boxes:
            halves = write_halves(folder, n)
            for mode, estimator in (
                ("fast", "mean-cosine"),
                ("exact", "mean-cosine"),
                ("fast", "fsc"),
            ):
                out = folder / "volume.npy"
                seconds, memory, limit = run_case(halves, out, mode, estimator, str(options.angle))
                voxels = random_voxels(n, limit - 1, 2000)
                found = np.load(out, mmap_mode="r")[tuple((voxels + n // 2).T)]
                error = found - direct_values(halves, voxels, estimator, options.angle)
                print(
                    f"{n:5d} {mode:6s} {estimator:12s} {seconds:5.1f} {memory:10.2f} "
                    f"{np.abs(error).max():11.1e} {np.sqrt((error**2).mean()):11.1e}",
                    flush=True,
                )
            for path in halves:
                path.unlink()


if __name__ == "__main__":
    main()
