"""Names of image files as a STAR file in a given place should write them."""

from __future__ import annotations

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
    here = str(star.absolute().parent)
    verdicts: dict[tuple[str, str], bool] = {}
    names = []
    for file, path in zip(old, paths):
        place, _, tail = str(path).rpartition("/")
        inside = place == here or place.startswith(here + "/")
        head, slash, old_tail = file.rpartition("/")
        if old_tail == tail and not (fresh and inside):
            if (head + slash, place) not in verdicts:
                # Files of one folder lie together: one of them tells for all.
                found = not path.exists() or _leads_to(finder, file, path)
                verdicts[head + slash, place] = found
            if verdicts[head + slash, place]:
                names.append(file)
                continue
        whole = path.absolute()
        names.append(str(whole.relative_to(here) if whole.is_relative_to(here) else whole))
    return names


def _leads_to(finder: FileFinder, file: str, path: Path) -> bool:
    found = finder.find(file)
    try:
        return found.samefile(path)
    except OSError:
        return False
