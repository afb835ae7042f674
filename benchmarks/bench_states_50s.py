"""Measure opus-tomo on tilt images of two assembly states of the 50S subunit, of known class.

Every image of EMPIAR-10076's classes D and E has its own angles, shift and defocus; the images of
one group are one particle. As many images of each are used as the class with fewer has, lest
particles are told apart by their number.

    python benchmarks/bench_states_50s.py --data FOLDER --output FOLDER [-- more for train]

FOLDER holds 10076_class{D,E}_32_sim.{star,mrcs}.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import starfile

from cryodl.core.evaluation.partitions import adjusted_rand_index
from cryodl.core.geometry.rotations import euler_to_matrix
from cryodl.core.io.particles.make import particles_from_tilt_stacks
from cryodl.core.io.particles.model import TiltSeries
from cryodl.core.io.particles.tilt_series import tilt_geometry
from cryodl.core.io.particles.write import write_particles
from cryodl.core.io.particles.write_tomograms import write_tomograms
from cryodl.methods.opus_tomo.clusters import cluster

PIXEL, BOX = 13.1, 32


def main() -> int:
    """Convert, train, print one line."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(words[:cut])
    given.output.mkdir(parents=True, exist_ok=True)
    classes = convert(given.data, given.output)
    command = [sys.executable, "-m", "cryodl", "opus-tomo", "train"]
    command += [str(given.output / "particles.star"), "--preset", "demo", "--devices", "cpu"]
    command += ["--tomograms", str(given.output / "tomograms.star"), "--overwrite"]
    trained = given.output / "trained"
    subprocess.run([*command, "--output", str(trained), *words[cut + 1 :]], check=True)
    with np.load(trained / "latents.npz") as stored:
        scores = {
            name: adjusted_rand_index(classes, cluster(stored[name], 2)[0])
            for name in ("scaled", "linear")
        }
        along = {name: abs(np.corrcoef(stored[name][:, 0], classes)[0, 1]) for name in scores}
    print(f"{len(classes)} particles; ARI {scores}; correlation of the first axis {along}")
    return 0


def convert(data: Path, output: Path) -> np.ndarray:
    """Write stacks, particles and tilt series; return the class of each particle."""
    tables = {c: starfile.read(data / f"10076_class{c}_32_sim.star") for c in "DE"}
    sizes = [t.groupby("rlnGroupName").size() for t in tables.values()]
    count = min(int(s.min()) for s in sizes)
    paths, tilts, rotations, classes = [], {}, [], []
    for number, (c, table) in enumerate(tables.items(), start=1):
        with mrcfile.open(data / f"10076_class{c}_32_sim.mrcs", permissive=True) as file:
            images = np.array(file.data)
        for group, rows in table.groupby("rlnGroupName"):
            rows, name = rows.iloc[:count], f"{c}{group}".replace("_", "")
            views = euler_to_matrix(*(rows[f"rlnAngle{a}"] for a in ("Rot", "Tilt", "Psi")))
            places = [int(n.split("@")[0]) - 1 for n in rows["rlnImageName"]]
            moved = [
                shifted(images[i], rows[["rlnOriginX", "rlnOriginY"]].to_numpy()[k])
                for k, i in enumerate(places)
            ]
            paths.append(output / f"{name}.mrcs")
            with mrcfile.new(paths[-1], overwrite=True) as file:
                file.set_data(np.stack(moved).astype(np.float32))
                file.voxel_size = PIXEL
            tilts[name] = series(name, rows, views @ views[0].T)
            rotations.append(views[0])
            classes.append(number)
    particles = particles_from_tilt_stacks(
        paths,
        pixel_size_angstrom=PIXEL,
        box_size_px=BOX,
        tomograms=list(tilts),
        tilts=tilts,
        rotations=np.stack(rotations),
        amplitude_contrast=0.1,
    )
    write_tomograms(output / "tomograms.star", tilts)
    write_particles(output / "particles.star", particles)
    return np.array(classes)


def shifted(image: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Move an image by RELION's origin, which brings its particle to the middle."""
    k = np.fft.fftfreq(image.shape[0])
    phase = np.exp(-2j * np.pi * (k[None] * origin[0] + k[:, None] * origin[1]))
    return np.fft.ifft2(np.fft.fft2(image) * phase).real


def series(name: str, rows, views: np.ndarray) -> TiltSeries:
    """Return how the images of one particle were recorded."""
    angles, axis = tilt_geometry(views)
    count = len(rows)
    column = {c: rows[f"rln{c}"].to_numpy(float) for c in ("DefocusU", "DefocusV", "PhaseShift")}
    return TiltSeries(
        name,
        angles,
        axis,
        np.zeros(count),
        column["DefocusU"],
        column["DefocusV"],
        rows["rlnDefocusAngle"].to_numpy(float),
        column["PhaseShift"],
        300.0,
        2.7,
        0.1,
        PIXEL,
        projections=np.concatenate([views, np.zeros((count, 3, 1))], axis=2),
        size_xyz_px=(BOX, BOX, BOX),
        scale=rows["rlnCtfScalefactor"].to_numpy(float),
        bfactor=-rows["rlnCtfBfactor"].to_numpy(float),
    )


if __name__ == "__main__":
    sys.exit(main())
