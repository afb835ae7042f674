"""Particles with preferred orientation, projected by RELION from a structure that cryodl ships."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.spatial.transform import Rotation

from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.fourier.filters import low_pass
from cryodl.core.fourier.fsc import fourier_shell_correlation
from cryodl.core.fourier.transform import forward_centred, inverse_centred
from cryodl.core.geometry.rotations import rotate_volume
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.core.io.mrc import write_volume
from cryodl.core.simulation.densities import density_facts, load_density
from cryodl.core.volumes.masks import estimate_mask

OPTICS = {
    "rlnOpticsGroupName": "opticsGroup1",
    "rlnOpticsGroup": 1,
    "rlnVoltage": 300.0,
    "rlnSphericalAberration": 2.7,
    "rlnAmplitudeContrast": 0.1,
}
POSE = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]
# Mean FSC to half Nyquist of a structure with its symmetry mates, after interpolation.
LEAST_SYMMETRIC = 0.9
CTF = ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]


@dataclass(frozen=True)
class DataSet:
    """What is simulated.

    Attributes
    ----------
    structure : str
        Name of a shipped density.
    box_size_px, pixel_size_angstrom
        Of images and maps.
    particles : int
        How many.
    preferred : float
        Share of the views within the cone; the others are spread evenly outside it.
    cone_degrees : float
        Half angle of the cone about `axis_degrees`, even over its cap.
    axis_degrees : float
        Tilt of the cone's axis from z, the highest symmetry axis.
    snr : float
        Variance of signal over that of noise, within the circle that holds the particle.
    b_factor : float
        Decay of the structure's amplitudes, square Angstrom.
    start_angstrom : float
        Low-pass of the true structure that serves as the first reference.
    start_missing : float
        Amplitude that the first reference keeps at the frequencies no preferred view touches, as
        a map made from such views would; 1 is an isotropic reference.
    seed : int
        Of views, shifts, defocus and noise.
    """

    structure: str
    box_size_px: int
    pixel_size_angstrom: float
    particles: int
    preferred: float
    cone_degrees: float
    axis_degrees: float
    snr: float
    b_factor: float
    start_angstrom: float
    start_missing: float
    seed: int

    @property
    def symmetry(self) -> str:
        """Point group of the structure."""
        return str(density_facts(self.structure).symmetry)

    def cone_axis(self) -> NDArray[np.float64]:
        """Return the axis of the cone as a unit vector x, y, z."""
        angle = np.radians(self.axis_degrees)
        return np.array([np.sin(angle), 0.0, np.cos(angle)])


def simulate(data: DataSet, folder: Path) -> None:
    """Write truth, mask, reference, particles and true poses, unless the same are there."""
    note = folder / "data.json"
    facts = json.dumps(asdict(data), indent=1)
    if note.is_file() and note.read_text(encoding="utf-8") == facts:
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(data.seed)
    n, pixel = data.box_size_px, data.pixel_size_angstrom
    truth, _ = load_density(data.structure, n, pixel)
    truth = in_frame_of_relion(truth, data.symmetry)
    truth = _with_b_factor(truth / truth.std(), data)
    write_volume(folder / "truth.mrc", truth, pixel_size_angstrom=pixel)
    poses = np.column_stack([_views(data, rng), rng.normal(0, 1.0, (data.particles, 2)) * pixel])
    defocus = rng.uniform(15000, 30000, data.particles)
    ctf = np.column_stack([defocus, defocus - rng.uniform(0, 300, data.particles)])
    ctf = np.column_stack([ctf, rng.uniform(0, 180, data.particles)])
    rows = [[*pose, 1, *values] for pose, values in zip(poses.tolist(), ctf.tolist())]
    _write_star(folder / "true_poses.star", [*POSE, "rlnOpticsGroup", *CTF], rows, data)
    command = ["relion_project", "--i", "truth.mrc", "--ang", "true_poses.star", "--o", "clean"]
    command += ["--angpix", f"{pixel}", "--ctf"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    clean = np.array(mrcfile.read(folder / "clean.mrcs"))
    (folder / "clean.mrcs").unlink()
    with mrcfile.new(folder / "particles.mrcs", overwrite=True) as stack:
        images, scale = _noisy(clean, data, rng)
        stack.set_data(images)
        stack.set_image_stack()
        stack.voxel_size = pixel
    # RELION's likelihood needs the reference on the grey scale of the normalised images.
    truth *= np.float32(scale)
    write_volume(folder / "truth.mrc", truth, pixel_size_angstrom=pixel)
    mask = estimate_mask(truth, pixel)
    write_volume(folder / "mask.mrc", mask, pixel_size_angstrom=pixel)
    reference = low_pass(_as_seen(truth, data), data.start_angstrom, pixel)
    write_volume(folder / "reference.mrc", reference, pixel_size_angstrom=pixel)
    rows = [
        [f"{i:06d}@particles.mrcs", f"micrograph{i % 10}.mrc", 1, *values]
        for i, values in enumerate(ctf.tolist(), 1)
    ]
    names = ["rlnImageName", "rlnMicrographName", "rlnOpticsGroup", *CTF]
    _write_star(folder / "particles.star", names, rows, data)
    note.write_text(facts, encoding="utf-8")


def in_frame_of_relion(volume: NDArray[np.float32], symmetry: str) -> NDArray[np.float32]:
    """Turn a structure about z until its axes lie where RELION takes them to be.

    Deposited structures with dihedral symmetry have a twofold axis anywhere in the xy plane, RELION
    has one along x. A few degrees off, the symmetry it imposes blurs the map, and no equivalent of
    a true pose is one.

    Raises
    ------
    ValueError
        The structure does not have that symmetry in RELION's frame.
    """
    operators = symmetry_matrices(symmetry)

    def turned(degrees: float) -> NDArray[np.float32]:
        return rotate_volume(volume, _about_z(degrees), order=3)

    def unlike(degrees: float) -> float:
        # The twofold axis at `degrees` from x maps the structure onto itself.
        operator = _about_z(2 * degrees) @ np.diag([1.0, -1.0, -1.0])
        return -_likeness(rotate_volume(volume, operator, order=3), volume)

    if symmetry.startswith("D"):
        step = 90.0 / int(symmetry[1:])
        coarse = min(np.arange(-step, step, 2.0), key=unlike)
        found = optimize.minimize_scalar(
            unlike, bounds=(coarse - 2, coarse + 2), method="bounded"
        ).x
        volume = turned(-float(found))
    worst = min(_likeness(rotate_volume(volume, s, order=3), volume) for s in operators)
    if worst < LEAST_SYMMETRIC:
        raise ValueError(
            f"structure: found a correlation of {worst:.2f} with its symmetry mates in the frame "
            f"RELION has for {symmetry}, expected {LEAST_SYMMETRIC} or more; give another --sym"
        )
    return volume


def _about_z(degrees: float) -> NDArray[np.float64]:
    return Rotation.from_euler("z", degrees, degrees=True).as_matrix()


def _likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the mean FSC to half Nyquist."""
    return float(fourier_shell_correlation(first, second)[1 : len(first) // 4 + 1].mean())


def _with_b_factor(volume: NDArray[np.float32], data: DataSet) -> NDArray[np.float32]:
    frequency = np.fft.fftfreq(data.box_size_px, data.pixel_size_angstrom)
    squares = frequency**2
    total = squares[:, None, None] + squares[None, :, None] + squares[None, None, :]
    decay = np.exp(-data.b_factor / 4 * total)
    return np.fft.ifftn(np.fft.fftn(volume) * decay).real.astype(np.float32)


def _as_seen(truth: NDArray[np.float32], data: DataSet) -> NDArray[np.float32]:
    missing = double_cone_region(data.box_size_px, data.cone_axis(), 90 - data.cone_degrees)
    weight = np.where(missing, data.start_missing, 1.0).astype(np.float32)
    weight[(data.box_size_px // 2,) * 3] = 1.0
    return inverse_centred(forward_centred(truth) * weight)


def _views(data: DataSet, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw rot, tilt, psi: `preferred` of the viewing directions lie in the cone."""
    edge = np.cos(np.radians(data.cone_degrees))
    inside = rng.random(data.particles) < data.preferred
    cosine = np.where(
        inside, rng.uniform(edge, 1, data.particles), rng.uniform(-1, edge, data.particles)
    )
    azimuth = rng.uniform(0, 2 * np.pi, data.particles)
    sine = np.sqrt(1 - cosine**2)
    about_z = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=1)
    angle = np.radians(data.axis_degrees)
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    direction = about_z @ turn.T
    tilt = np.degrees(np.arccos(np.clip(direction[:, 2], -1, 1)))
    # The viewing direction is the third row of A: (sin tilt cos rot, sin tilt sin rot, cos tilt).
    rot = np.degrees(np.arctan2(direction[:, 1], direction[:, 0]))
    return np.stack([rot, tilt, rng.uniform(-180, 180, data.particles)], axis=1)


def _noisy(
    clean: NDArray[np.float32], data: DataSet, rng: np.random.Generator
) -> tuple[NDArray[np.float32], float]:
    """Add noise and normalise as RELION does; also return the mean factor of the signal."""
    n = data.box_size_px
    y, x = np.mgrid[:n, :n] - n // 2
    inside = y**2 + x**2 < (0.4 * n) ** 2
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    images = clean + noise * clean[:, inside].std() / np.sqrt(data.snr)
    background = images[:, ~inside]
    mean, sd = background.mean(axis=1), background.std(axis=1)
    normalised = (images - mean[:, None, None]) / sd[:, None, None]
    return normalised.astype(np.float32), float(np.mean(1 / sd))


def _write_star(path: Path, names: list[str], rows: list[list], data: DataSet) -> None:
    size = {"rlnImagePixelSize": data.pixel_size_angstrom, "rlnImageSize": data.box_size_px}
    optics = {**OPTICS, **size, "rlnImageDimensionality": 2}
    lines = ["# version 30001", "", "data_optics", "", "loop_"]
    lines += [f"_{name} #{i}" for i, name in enumerate(optics, 1)]
    lines += [" ".join(str(value) for value in optics.values()), "", "# version 30001", ""]
    lines += ["data_particles", "", "loop_"]
    lines += [f"_{name} #{i}" for i, name in enumerate(names, 1)]
    for row in rows:
        lines.append(" ".join(f"{v:.6f}" if isinstance(v, float) else str(v) for v in row))
    path.write_text("\n".join([*lines, "", ""]), encoding="utf-8")
