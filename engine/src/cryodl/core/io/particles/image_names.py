"""Names of image files as a STAR file in a given place should write them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryodl.core.io.particles.columns import as_texts
from cryodl.core.io.particles.image_files import FileFinder, split_image_names

if TYPE_CHECKING:
    import pandas as pd

    from cryodl.core.io.particles.model import ParticleSet


def image_names(table: pd.DataFrame, particles: ParticleSet, star: Path) -> list[str]:
    """Return ``rlnImageName`` of each particle.

    A name that leads from the new place to the same file stays as it is.
    """
    old = as_texts(table["rlnImageName"]) if "rlnImageName" in table else [""] * len(table)
    files, numbers = split_image_names(old)
    new = _file_names(files, particles.image_paths, star, particles.path is None)
    result = []
    for text, file, name, number, index in zip(
        old, files, new, numbers.tolist(), particles.image_indices.tolist()
    ):
        numbered = particles.image_kind == "image" and (number >= 0 or index > 0 or not text)
        if name == file and (number == index or not numbered):
            result.append(text)
        else:
            result.append(f"{index + 1:06d}@{name}" if numbered else name)
    return result


def ctf_names(table: pd.DataFrame, particles: ParticleSet, star: Path) -> list[str]:
    """Return ``rlnCtfImage`` of each particle, as `image_names` does."""
    old = as_texts(table["rlnCtfImage"]) if "rlnCtfImage" in table else [""] * len(table)
    return _file_names(old, particles.ctf_paths, star, particles.path is None)


def _file_names(old: list[str], paths: list[Path], star: Path, fresh: bool) -> list[str]:
    """Return names that lead to `paths`; those of a `fresh` set become relative if they can."""
    finder = FileFinder(star)
    here = star.absolute().parent
    verdicts: dict[tuple[str, Path], bool] = {}
    known: dict[tuple[str, Path], str] = {}
    for file, path in zip(old, paths):
        if (file, path) in known:
            continue
        head, tail = os.path.split(file)
        same_tail = tail == path.name and not (fresh and path.is_relative_to(here))
        place = (head, path.parent)
        if same_tail and place not in verdicts:
            # Files of one folder lie together: one of them tells for all.
            verdicts[place] = not path.exists() or _leads_to(finder, file, path)
        if same_tail and verdicts[place]:
            known[file, path] = file
        else:
            absolute = path.absolute()
            inside = absolute.is_relative_to(here)
            known[file, path] = str(absolute.relative_to(here) if inside else absolute)
    return [known[pair] for pair in zip(old, paths)]


def _leads_to(finder: FileFinder, file: str, path: Path) -> bool:
    found = finder.find(file)
    try:
        return found.samefile(path)
    except OSError:
        return False
