"""Compute the small densities that ship with cryodl from atomic models of the PDB.

The models are PDB entries 1AON, 3J9I, 1BXN, 3CF3 and 5NI1 (CC0). Each biological assembly is turned
so that its highest rotation axis is z, centred by mass on voxel ``n//2``, and its electrostatic
potential is sampled on a grid twice as fine as the stored one and cut to 64^3 in Fourier space, so
that nothing beyond Nyquist folds back. Needs ``gemmi``; the package itself does not.

    python benchmarks/make_densities.py --atoms DIR --output engine/src/cryodl/data
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy import fft

BOX_SIZE_PX = 64
OVERSAMPLING = 2
TAPER_PX = 6
"""Width of the cosine edge that ends at Nyquist: no corners, and little ringing."""
STORED_MAXIMUM = 4095
"""12 bits in a 16-bit integer, for gzip: the step is 1/4095 of the strongest density."""

FloatArray = NDArray[np.float32]
log = logging.getLogger("make_densities")


@dataclass(frozen=True)
class Recipe:
    """One density to make."""

    name: str
    file_name: str
    title: str
    symmetry: str
    resolution_angstrom: float
    pixel_size_angstrom: float


RECIPES = (
    Recipe("groel_groes", "1aon.pdb.gz", "GroEL14-GroES7 chaperonin", "C7", 8.0, 4.0),
    Recipe("proteasome_20s", "3j9i.pdb.gz", "20S proteasome", "D7", 8.0, 4.0),
    Recipe("rubisco", "1bxn.pdb.gz", "Rubisco L8S8", "D4", 8.0, 4.0),
    Recipe("p97", "3cf3.pdb.gz", "p97 ATPase hexamer", "C6", 8.0, 4.0),
    Recipe("haemoglobin", "5ni1.cif.gz", "haemoglobin tetramer", "C2", 4.0, 1.5),
)
RINGS = (
    Recipe(
        "groel_ring_cis", "1aon.pdb.gz", "GroEL ring bound to GroES (chains A-G)", "C7", 8.0, 4.0
    ),
    Recipe("groel_ring_trans", "1aon.pdb.gz", "open GroEL ring (chains H-N)", "C7", 8.0, 4.0),
)


def read_assembly(path: Path) -> gemmi.Model:
    """Return the first biological assembly of an entry, without hydrogen and water."""
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    structure.remove_hydrogens()
    structure.remove_waters()
    if structure.assemblies and any(
        len(g.operators) > 1 for g in structure.assemblies[0].generators
    ):
        return gemmi.make_assembly(
            structure.assemblies[0], structure[0], gemmi.HowToNameCopiedChain.AddNumber
        )
    return structure[0]


def calpha(chain: gemmi.Chain) -> dict[int, gemmi.Position]:
    """Return the C-alpha positions of a chain by residue number."""
    return {
        residue.seqid.num: residue["CA"][0].pos
        for residue in chain
        if residue.seqid.num is not None and residue.find_atom("CA", "*", gemmi.Element("C"))
    }


def superpose(fixed: list[gemmi.Position], moving: list[gemmi.Position]) -> gemmi.SupResult:
    """Superpose equally long lists of positions."""
    return gemmi.superpose_positions(fixed, moving)


def highest_rotation_axis(model: gemmi.Model) -> NDArray[np.float64]:
    """Return the unit axis (x, y, z) of the smallest rotation of one chain onto another."""
    first = calpha(model[0])
    best_angle_degrees, best_axis = 360.0, np.array([0.0, 0.0, 1.0])
    for chain in list(model)[1:]:
        other = calpha(chain)
        shared = sorted(set(first) & set(other))
        if len(shared) < 0.9 * len(first):
            continue
        result = superpose([other[i] for i in shared], [first[i] for i in shared])
        if result.rmsd > 3.0:
            continue
        matrix = np.array(result.transform.mat.tolist())
        angle_degrees = np.degrees(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1)))
        # 5 degrees of slack: chains of one assembly are not exactly symmetric, and the first hit
        # wins
        if angle_degrees < best_angle_degrees - 5:
            values, vectors = np.linalg.eig(matrix)
            axis = np.real(vectors[:, np.argmin(np.abs(values - 1))])
            best_angle_degrees, best_axis = float(angle_degrees), axis / np.linalg.norm(axis)
    # a direction and its opposite are the same axis: fix the sign so that the result is
    # reproducible
    sign = np.sign(best_axis[np.argmax(np.abs(best_axis))])
    log.info("  rotation %.1f degrees about %s", best_angle_degrees, np.round(best_axis, 3))
    upward: NDArray[np.float64] = best_axis * sign
    return upward


def rotation_to_z(axis_xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smallest proper rotation that turns a unit axis onto z."""
    x, y, z = axis_xyz
    if z < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    skew = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0.0]])
    rotation: NDArray[np.float64] = np.eye(3) + skew + skew @ skew / (1 + z)
    return rotation


def move(model: gemmi.Model, matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> None:
    """Apply ``x -> matrix x + vector`` to all atoms."""
    model.transform_pos_and_adp(
        gemmi.Transform(gemmi.Mat33(matrix.tolist()), gemmi.Vec3(*vector.tolist()))
    )


def centre_of_mass(model: gemmi.Model) -> NDArray[np.float64]:
    """Return the centre of mass (x, y, z) in Angstrom."""
    return np.array(model.calculate_center_of_mass().tolist())


def stand_upright(model: gemmi.Model) -> None:
    """Turn the highest rotation axis to z and put the centre of mass at the origin."""
    matrix = rotation_to_z(highest_rotation_axis(model))
    move(model, matrix, -matrix @ centre_of_mass(model))


def equatorial_calphas(chain: gemmi.Chain) -> dict[int, gemmi.Position]:
    """Return the C-alphas of a GroEL equatorial domain (residues 6-133 and 409-523)."""
    return {i: p for i, p in calpha(chain).items() if 6 <= i <= 133 or 409 <= i <= 523}


def ring_pair(path: Path) -> dict[str, gemmi.Model]:
    """Return the two 7-mer rings of 1AON in one frame, equatorial domains superposed."""
    structure = gemmi.read_structure(str(path))
    rings = {}
    for name, letters in (("groel_ring_cis", "ABCDEFG"), ("groel_ring_trans", "HIJKLMN")):
        model = gemmi.Model(1)
        for letter in letters:
            model.add_chain(structure[0][letter])
        rings[name] = model
    cis, trans = rings["groel_ring_cis"], rings["groel_ring_trans"]
    stand_upright(cis)
    fixed = [equatorial_calphas(chain) for chain in cis]
    moving = [equatorial_calphas(chain) for chain in trans]
    results = []
    for order in ([*range(7)], [*range(6, -1, -1)]):
        for start in range(7):
            target, source = [], []
            for index, positions in enumerate(fixed):
                other = moving[order[(index + start) % 7]]
                shared = sorted(set(positions) & set(other))
                target += [positions[i] for i in shared]
                source += [other[i] for i in shared]
            results.append(superpose(target, source))
    best = min(results, key=lambda result: result.rmsd)
    log.info("  equatorial domains of the rings: rmsd %.2f A", best.rmsd)
    matrix = np.array(best.transform.mat.tolist())
    move(trans, matrix, np.array(best.transform.vec.tolist()))
    shift = -(centre_of_mass(cis) + centre_of_mass(trans)) / 2
    for model in rings.values():
        move(model, np.eye(3), shift)
    return rings


def density(model: gemmi.Model, recipe: Recipe) -> FloatArray:
    """Return the ``(64, 64, 64)`` (z, y, x) potential of a model centred on the origin."""
    fine_box = BOX_SIZE_PX * OVERSAMPLING
    cell = BOX_SIZE_PX * recipe.pixel_size_angstrom
    model = model.clone()
    # voxel n//2 of the fine and of the stored grid are both half the cell from the corner
    move(model, np.eye(3), np.full(3, cell / 2))
    b_factor = 8 * np.pi**2 * (0.225 * recipe.resolution_angstrom) ** 2
    for site in model.all():
        site.atom.b_iso = b_factor
        site.atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    calculator = gemmi.DensityCalculatorE()
    calculator.grid.unit_cell = gemmi.UnitCell(cell, cell, cell, 90, 90, 90)
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.grid.set_size(fine_box, fine_box, fine_box)
    calculator.add_model_density_to_grid(model)
    fine = np.array(calculator.grid, copy=True).transpose(2, 1, 0)
    return crop_in_fourier_space(fine)


def crop_in_fourier_space(fine: NDArray[np.float32]) -> FloatArray:
    """Cut a fine cube to ``BOX_SIZE_PX`` with a spherical cosine edge that ends at Nyquist."""
    n = BOX_SIZE_PX
    low = fine.shape[0] // 2 - n // 2
    spectrum = fft.fftshift(fft.fftn(fine.astype(np.float64)))
    spectrum = spectrum[low : low + n, low : low + n, low : low + n]
    line = np.arange(n) - n // 2
    radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    ramp = np.clip((n / 2 - radius) / TAPER_PX, 0, 1)
    spectrum = spectrum * (0.5 - 0.5 * np.cos(np.pi * ramp)) / OVERSAMPLING**3
    cut: FloatArray = fft.ifftn(fft.ifftshift(spectrum)).real.astype(np.float32)
    return cut


def write_compact(path: Path, array: FloatArray, scale: float, recipe: Recipe) -> None:
    """Write a gzip'd MRC of 16-bit integers, the same bytes each time."""
    integers = np.round(array / scale).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "density.mrc"
        with mrcfile.new(plain) as mrc:
            mrc.set_data(integers)
            mrc.voxel_size = recipe.pixel_size_angstrom
            mrc.header.label[:] = b""
            mrc.header.label[0] = f"cryodl: {recipe.title}"[:79].encode()
            mrc.header.nlabl = 1
        content = plain.read_bytes()
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0, filename="") as stream:
        stream.write(content)
    path.write_bytes(buffer.getvalue())


def main() -> None:
    """Make all densities and their table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--atoms", type=Path, required=True, help="folder with the PDB models")
    parser.add_argument("--output", type=Path, required=True, help="folder for the densities")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments.output.mkdir(parents=True, exist_ok=True)

    table: dict[str, dict[str, object]] = {}
    rings = ring_pair(arguments.atoms / "1aon.pdb.gz")
    for recipe in (*RECIPES, *RINGS):
        log.info("%s", recipe.name)
        if recipe.name in rings:
            model = rings[recipe.name]
        else:
            model = read_assembly(arguments.atoms / recipe.file_name)
            stand_upright(model)
        array = density(model, recipe)
        scale = float(array.max()) / STORED_MAXIMUM
        path = arguments.output / f"{recipe.name}.mrc.gz"
        write_compact(path, array, scale, recipe)
        table[recipe.name] = {
            "title": recipe.title,
            "pdb_id": recipe.file_name[:4].upper(),
            "symmetry": recipe.symmetry,
            "mass_kilodalton": round(model.calculate_mass() / 1000, 1),
            "resolution_angstrom": recipe.resolution_angstrom,
            "pixel_size_angstrom": recipe.pixel_size_angstrom,
            "box_size_px": BOX_SIZE_PX,
            "file": path.name,
            "scale": float(f"{scale:.8g}"),
        }
        log.info("  max %.3f, %d kB", array.max(), path.stat().st_size // 1000)
    (arguments.output / "densities.json").write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
