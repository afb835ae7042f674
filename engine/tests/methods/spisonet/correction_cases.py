"""Small half maps with a missing cone, and runs of the correction on them."""

import json
import re
from pathlib import Path

import numpy as np

from cryodl.cli import main
from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.io.mrc import read_volume
from cryodl.core.simulation.densities import load_density
from cryodl.core.simulation.half_maps import NoiseModel, simulate_missing_cone

PIXEL = 4.0
ORIGIN = (12.5, -3.0, 40.25)
NSTART = (-8, 4, 2)
QUICK = [
    *["--width", "16", "--epochs", "1", "--n-subvolume", "2", "--batch-size", "2"],
    *["--cube-size", "16", "--predict-crop-size", "32", "--devices", "cpu", "--ncpus", "1"],
]


def simulate(box=24, half_angle=30.0, snr=4.0, name="groel_groes", seed=0):
    """Return simulated half maps of a shipped structure with a cone about z missing."""
    truth, _ = load_density(name, box)
    return simulate_missing_cone(
        truth,
        PIXEL,
        half_angle_degrees=half_angle,
        attenuation=0.0,
        noise=NoiseModel(snr=snr, reconstruction="wiener"),
        seed=seed,
    )


def weight_of(simulated):
    """Return what would be the 3DFSC of the half maps without their noise."""
    n = len(simulated.truth)
    axis = np.arange(n) - n // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return ((simulated.sampling > 0.5) * np.clip(1.2 - 2 * radius / n, 0.05, 1)).astype(np.float32)


def write_case(folder, simulated=None, change=lambda volume: volume):
    """Write half maps, mask, truth and weight; headers hold origin and nstart."""
    simulated = simulate() if simulated is None else simulated
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("half1", "half2", "truth"):
        write(folder / f"{name}.mrc", change(getattr(simulated, name)))
    write(folder / "mask.mrc", simulated.mask)
    write(folder / "weight.mrc", weight_of(simulated))
    return folder


def write(path, data, pixel=PIXEL):
    """Write a map with a header that says where it lies."""
    import mrcfile

    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.ascontiguousarray(data, dtype=np.float32))
        file.set_volume()
        file.voxel_size = pixel
        file.header.origin = ORIGIN
        file.nstart = NSTART
    return path


def correct(folder, output, *options, halves=("half1.mrc", "half2.mrc"), given=True, quick=True):
    """Run ``cryodl spisonet correct`` in this process; returns the folder and result.json."""
    inputs = ["--mask", f"{folder}/mask.mrc", "--aniso-file", f"{folder}/weight.mrc"]
    arguments = [
        *["spisonet", "correct", *(f"{folder}/{half}" for half in halves)],
        *(inputs if given else []),
        *(QUICK if quick else []),
        *["--output", str(output), *map(str, options)],
    ]
    assert main(arguments) == 0
    return Path(output), json.loads((Path(output) / "result.json").read_text())


def load(path):
    """Return a map's values."""
    return read_volume(path).data


def spectrum(volume):
    """Return the centred transform."""
    return np.fft.fftshift(np.fft.fftn(volume))


def slope(found, given, chosen):
    """Return the regression slope of one transform on another over some voxels."""
    a, b = spectrum(found)[chosen], spectrum(given)[chosen]
    return float((a * b.conj()).real.sum() / (np.abs(b) ** 2).sum())


def measured_region(box, half_angle=35.0):
    """Return the voxels outside a cone about z a little larger than the missing one."""
    return ~double_cone_region(box, (0.0, 0.0, 1.0), half_angle)


def log_of(folder):
    """Return what a run said, without the times."""
    return re.sub(r"^\S+  ", "", (folder / "log.txt").read_text(), flags=re.M)
