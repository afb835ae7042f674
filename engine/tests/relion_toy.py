"""A tiny single-particle data set, refined by the real RELION in a few seconds.

Needs relion_project, relion_image_handler, relion_refine_mpi and mpirun on PATH. Everything is the
same for the same seed.
"""

from __future__ import annotations

import os
import subprocess
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np

CTF_COLUMNS = ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]


@dataclass
class Toy:
    """A data set in a folder; see `make_toy` and `make_volume_toy`."""

    folder: Path
    box: int
    pixel: float
    low_pass: float
    ctf: bool


@dataclass
class Refinement:
    """An ended run of relion_refine_mpi."""

    folder: Path
    status: int
    seconds: float

    @property
    def said(self) -> str:
        """What was printed."""
        texts = [
            (self.folder / f"run.{name}").read_text(errors="replace") for name in ("out", "err")
        ]
        return "\n".join(texts)

    def map(self, name: str) -> np.ndarray:
        """Read one of its maps."""
        return read_map(self.folder / name)


def read_map(path: Path) -> np.ndarray:
    """Read a map whatever its header says of the pixel size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array(mrcfile.read(path))


def make_toy(
    folder: Path,
    *,
    box: int = 24,
    pixel: float = 7.0,
    number: int = 80,
    low_pass: float = 30.0,
    preferred: float = 0.3,
    snr: float = 4.0,
    ctf: bool = False,
    seed: int = 3,
) -> Toy:
    """Write truth, reference, mask and particles, `preferred` of which show one view."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    volume = _blobs(box, pixel, rng)
    _write(folder / "truth.mrc", volume, pixel)
    _write(folder / "mask.mrc", _soft_mask(box), pixel)
    views = _views(number, preferred, rng)
    shifts = np.clip(rng.normal(0, 1, (number, 2)), -3, 3) * pixel
    poses = [[*view, *shift, 1] for view, shift in zip(views, shifts)]
    names = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]
    names.append("rlnOpticsGroup")
    defocus = [[u, u, 0.0] for u in rng.uniform(12000, 22000, number)]
    if ctf:
        poses = [pose + values for pose, values in zip(poses, defocus)]
        names = names + CTF_COLUMNS
    _write_star(folder / "truth_angles.star", names, poses, box, pixel)
    _run(
        ["relion_project", "--i", "truth.mrc", "--ang", "truth_angles.star", "--o", "clean"]
        + ["--angpix", str(pixel)]
        + (["--ctf"] if ctf else []),
        folder,
    )
    images = read_map(folder / "clean.mrcs")
    with mrcfile.new(folder / "particles.mrcs", overwrite=True) as stack:
        stack.set_data(_noisy(images, snr, rng))
        stack.set_image_stack()
        stack.voxel_size = pixel
    rows = [[f"{i:06d}@particles.mrcs", f"mic{i % 4}.mrc", 1] for i in range(1, number + 1)]
    names = ["rlnImageName", "rlnMicrographName", "rlnOpticsGroup"]
    if ctf:
        rows = [row + values for row, values in zip(rows, defocus)]
        names = names + CTF_COLUMNS
    _write_star(folder / "particles.star", names, rows, box, pixel)
    low = ["--i", "truth.mrc", "--o", "ref.mrc", "--lowpass", str(low_pass)]
    _run(["relion_image_handler", *low], folder)
    return Toy(folder, box, pixel, low_pass, ctf)


def make_volume_toy(
    folder: Path, *, box: int = 16, pixel: float = 12.0, number: int = 12, seed: int = 3
) -> Toy:
    """Write truth, reference, mask and subtomograms as volumes, with a missing wedge.

    They stand in their true poses, which are not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    points, width = _points(box, pixel, rng), max(4.0 / pixel, 0.9)
    _write(folder / "truth.mrc", _density(points, box, width), pixel)
    _write(folder / "mask.mrc", _soft_mask(box), pixel)
    k = np.fft.fftfreq(box)
    measured = (np.abs(k)[:, None, None] <= np.tan(np.radians(60)) * np.abs(k)) | (k == 0)
    measured = np.broadcast_to(measured, (box,) * 3)
    _write(folder / "wedge.mrc", np.fft.fftshift(measured).astype(np.float32), pixel)
    outside = _soft_mask(box) == 0
    rows = []
    for i in range(number):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn *= np.linalg.det(turn)
        volume = _density(points @ turn.T, box, width)
        volume = volume + rng.normal(0, volume.std(), volume.shape)
        volume = np.fft.ifftn(np.fft.fftn(volume) * measured).real
        volume = (volume - volume[outside].mean()) / volume[outside].std()
        _write(folder / f"volume{i}.mrc", volume, pixel)
        rows.append([f"volume{i}.mrc", "tomogram", 1, "wedge.mrc", 1 + i % 2])
    names = ["rlnImageName", "rlnMicrographName", "rlnOpticsGroup", "rlnCtfImage"]
    names.append("rlnRandomSubset")
    _write_star(folder / "particles.star", names, rows, box, pixel, dimensions=3)
    low_pass = 4.0 * pixel
    low = ["--i", "truth.mrc", "--o", "ref.mrc", "--lowpass", str(low_pass)]
    _run(["relion_image_handler", *low], folder)
    return Toy(folder, box, pixel, low_pass, ctf=True)


def refine(
    toy: Toy,
    job: str,
    *,
    external: str = "",
    iterations: int = 1,
    pad: int = 1,
    solvent_fsc: bool = True,
    processes: int = 3,
    healpix_order: int = 1,
    continued: str = "",
    root: str = "run",
    extra: str = "",
    environment: dict[str, str] | None = None,
    timeout_seconds: float = 200.0,
) -> Refinement:
    """Run relion_refine_mpi in the toy's folder, with output ``job/root``.

    Raises
    ------
    subprocess.TimeoutExpired
        It hangs.
    """
    (toy.folder / job).mkdir(parents=True, exist_ok=True)
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", str(processes)]
    command += ["relion_refine_mpi", "--o", f"{job}/{root}", "--pool", "30", "--j", "1"]
    if continued:
        command += ["--continue", f"{job}/{continued}"]
    else:
        command += _start_options(toy, pad, healpix_order)
        command += ["--solvent_mask", "mask.mrc", "--solvent_correct_fsc"] if solvent_fsc else []
    if iterations:
        command += ["--auto_iter_max", str(iterations)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    if external:
        command += ["--external_reconstruct"]
        settings["RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"] = external
    command += extra.split()
    started = time.monotonic()
    folder = toy.folder / job
    with (folder / "run.out").open("w") as out, (folder / "run.err").open("w") as err:
        status = subprocess.run(
            command,
            cwd=toy.folder,
            env={**settings, **(environment or {})},
            stdout=out,
            stderr=err,
            timeout=timeout_seconds,
        ).returncode
    return Refinement(folder, status, time.monotonic() - started)


def _start_options(toy: Toy, pad: int, healpix_order: int) -> list[str]:
    options = f"""--auto_refine --split_random_halves --i particles.star --ref ref.mrc
        --ini_high {toy.low_pass:g} --dont_combine_weights_via_disc --preread_images --pad {pad}
        --particle_diameter {0.8 * toy.box * toy.pixel:.0f} --flatten_solvent --zero_mask
        --oversampling 1 --healpix_order {healpix_order}
        --auto_local_healpix_order {healpix_order + 1} --offset_range 3 --offset_step 2 --sym C1
        --low_resol_join_halves 40 --norm --scale --random_seed 17 --auto_ignore_angles
        --auto_resol_angles"""
    return options.split() + (["--ctf"] if toy.ctf else [])


def _blobs(box: int, pixel: float, rng: np.random.Generator) -> np.ndarray:
    return _density(_points(box, pixel, rng), box, max(4.0 / pixel, 0.9))


def _points(box: int, pixel: float, rng: np.random.Generator) -> np.ndarray:
    """Return an asymmetric chain of points with two unequal lobes, 60 % of the box wide."""
    radius, step = 0.30 * box, 1.5 * max(5.0 / pixel, 1.0)
    points, at = [], np.zeros(3)
    while len(points) < 90:
        direction = rng.normal(size=3)
        further = at + step * direction / np.linalg.norm(direction)
        if np.linalg.norm(further * (1.0, 1.0, 0.85)) < radius:
            at = further
            points.append(at)
    lobe = np.array([0.55, -0.30, 0.45]) * radius
    points += [lobe + rng.normal(scale=0.12 * radius, size=3) for _ in range(18)]
    lobe = np.array([-0.50, 0.55, -0.20]) * radius
    points += [lobe + rng.normal(scale=0.08 * radius, size=3) for _ in range(9)]
    return np.array(points)


def _density(points: np.ndarray, box: int, width: float) -> np.ndarray:
    """Return a blob at each point (z, y, x)."""
    axis = np.arange(box) - box // 2
    z, y, x = (np.exp(-((axis[:, None] - points[:, i]) ** 2) / (2 * width**2)) for i in range(3))
    return np.einsum("zp,yp,xp->zyx", z, y, x).astype(np.float32)


def _soft_mask(box: int) -> np.ndarray:
    axis = np.arange(box) - box // 2
    r = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    edge = np.clip((r - 0.36 * box) / 3, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * edge)).astype(np.float32)


def _views(number: int, preferred: float, rng: np.random.Generator) -> np.ndarray:
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, number)))
    of_one_view = round(number * preferred)
    tilt[:of_one_view] = np.abs(rng.normal(0, 12, of_one_view))
    views = np.stack([rng.uniform(-180, 180, number), tilt, rng.uniform(-180, 180, number)], 1)
    return rng.permutation(views)


def _noisy(images: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    box = images.shape[-1]
    y, x = np.mgrid[:box, :box] - box // 2
    inside = y**2 + x**2 < (0.40 * box) ** 2
    noise = rng.normal(0, images[:, inside].std() / np.sqrt(snr), images.shape)
    noisy = images + noise
    background = noisy[:, ~inside]
    mean, sd = background.mean(1), background.std(1)
    return ((noisy - mean[:, None, None]) / sd[:, None, None]).astype(np.float32)


def _write(path: Path, data: np.ndarray, pixel: float) -> None:
    with mrcfile.new(path, overwrite=True) as stream:
        stream.set_data(np.ascontiguousarray(data, dtype=np.float32))
        stream.voxel_size = pixel


def _write_star(
    path: Path, names: list[str], rows: list[list], box: int, pixel: float, dimensions: int = 2
) -> None:
    optics = {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": 1,
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.1,
        "rlnImagePixelSize": pixel,
        "rlnImageSize": box,
        "rlnImageDimensionality": dimensions,
    }
    lines = ["# version 30001", "", "data_optics", "", "loop_"]
    lines += [f"_{name} #{i}" for i, name in enumerate(optics, 1)]
    lines += [" ".join(str(value) for value in optics.values()), "", "# version 30001", ""]
    lines += ["data_particles", "", "loop_"]
    lines += [f"_{name} #{i}" for i, name in enumerate(names, 1)]
    for row in rows:
        lines.append(" ".join(f"{v:.6f}" if isinstance(v, float) else str(v) for v in row))
    path.write_text("\n".join([*lines, "", ""]))


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
