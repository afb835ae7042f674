"""What the readers of particle files must do with any bytes: read them, or refuse them in one line.

The first byte of an input chooses the reader, the rest is the file. `fuzz.py` makes inputs, and
`test_fuzz_corpus.py` runs those that were kept.
"""

import warnings
from pathlib import Path

import numpy as np

from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.core.io.particles.dialects import DIALECTS
from cryodl.core.io.particles.read import TOMOGRAMS_FILE, read_particles
from cryodl.core.io.particles.tilt_series import read_ctf_star, read_tomograms
from cryodl.core.io.particles.write import write_particles
from cryodl.core.io.particles.write_tomograms import write_tomograms
from cryodl.errors import InputError

LONGEST_MESSAGE = 5000


def prepare(folder: Path) -> None:
    """Put the images that the inputs name where they can be found."""
    data = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    for name in ("a.mrc", "b.mrc"):
        write_volume(folder / name, data, pixel_size_angstrom=2.0)
    (folder / "a.mrcs").write_bytes((folder / "a.mrc").read_bytes())


def run_one(data: bytes, folder: Path) -> None:
    """Run one input.

    Raises
    ------
    Exception
        Anything but an `InputError` of one line is a fault of a reader.
    """
    path = folder / "input.star"
    kind = data[0] % 6 if data else 0
    if kind == 5:
        path = folder / "input.txt"
    path.write_bytes(data[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            _read(kind, path, folder)
        except InputError as error:
            text = str(error)
            if "\n" in text or len(text) > LONGEST_MESSAGE + len(data):
                raise ValueError(f"a message of {len(text)} characters: {text[:200]!r}") from error


def _read(kind: int, path: Path, folder: Path) -> None:
    if kind == 0:
        read_particles(path)
    elif kind in (1, 2):
        _round(path, folder, require_images=kind == 2)
    elif kind == 3:
        tilts = read_tomograms(path)
        write_tomograms(folder / "again.star", tilts)
        again = read_tomograms(folder / "again.star")
        if list(again) != list(tilts):
            raise ValueError(f"tomograms {list(tilts)} came back as {list(again)}")
    elif kind == 4:
        read_ctf_star(path, 2.0)
    else:
        read_coordinates(path)


def _round(path: Path, folder: Path, require_images: bool) -> None:
    """Whatever can be read can be written in every dialect, and is then the same."""
    particles = read_particles(path, require_images=require_images)
    tomograms = particles.companions.get(TOMOGRAMS_FILE)
    for dialect in DIALECTS:
        write_particles(folder / "again.star", particles, dialect=dialect)
        again = read_particles(
            folder / "again.star", require_images=require_images, tomograms=tomograms
        )
        if again.names != particles.names:
            raise ValueError(f"{dialect}: {particles.names[:3]} came back as {again.names[:3]}")
        if np.abs(again.rotations - particles.rotations).max() > 1e-5:
            raise ValueError(f"{dialect}: a pose came back as another")
        # Nine digits are written.
        size = 1e-4 + 1e-7 * np.abs(particles.shifts_angstrom).max()
        if np.abs(again.shifts_angstrom - particles.shifts_angstrom).max() > size:
            raise ValueError(f"{dialect}: a shift came back as another")
