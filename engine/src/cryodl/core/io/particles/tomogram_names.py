"""Names of tomograms, which files of points and files of tomograms write differently."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cryodl.errors import InputError

_SUFFIXES = re.compile(
    r"(\.(mrc|mrcs|map|rec|ccp4|gz|star|tomostar|st|ali|txt|csv|mod|coords|xyz))+$", re.IGNORECASE
)


def bare_name(name: str) -> str:
    """Return the name of a tomogram without folders and the suffixes of files."""
    tail = name.replace("\\", "/").rsplit("/", 1)[-1]
    return _SUFFIXES.sub("", tail) or tail


def tomogram_names(paths: Sequence[Path], flag: str = "--tomograms") -> list[str]:
    """Name tomograms after their files, and their folders where several files have one name.

    Raises
    ------
    InputError
        The same file twice.
    """
    twice = [str(path) for path, count in Counter(p.resolve() for p in paths).items() if count > 1]
    if twice:
        raise InputError(
            f"{flag}: found {twice[0]} more than once, expected each once; leave it out"
        )
    names = [bare_name(path.name) for path in paths]
    beside = Counter((path.resolve().parent, name) for path, name in zip(paths, names))
    for i, path in enumerate(paths):
        if beside[path.resolve().parent, names[i]] > 1:  # a.mrc and a.rec in one folder
            names[i] = path.name
    for depth in range(1, 8):
        often = Counter(names)
        if max(often.values()) == 1:
            break
        names = [
            f"{path.resolve().parents[depth - 1].name}_{name}"
            if often[name] > 1 and depth <= len(path.resolve().parents)
            else name
            for path, name in zip(paths, names)
        ]
    result: list[str] = []
    for name in names:
        plain = unique = re.sub(r"[^\w.+=-]", "_", name)
        while unique in result:  # "a b" and "a_b"
            unique = f"{plain}_{len(result)}"
        result.append(unique)
    return result


def tomogram_of(name: str, names: Sequence[str]) -> int | None:
    """Find a tomogram by its name, or the only one whose file begins with it: TS_01_10.00Apx.

    Parameters
    ----------
    name : str
        As a file of points has it, with or without folders and suffixes.
    names : sequence of str
        Bare names of the tomograms there are.
    """
    name = bare_name(name)
    if name in names:
        return names.index(name)
    begin = [
        i for i, other in enumerate(names) if re.match(re.escape(name) + r"[^0-9A-Za-z]", other)
    ]
    return begin[0] if len(begin) == 1 else None
