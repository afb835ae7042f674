"""A quick reader of the small STAR files by which RELION talks to other programs.

RELION calls the external reconstruction program for every half map of every iteration, so what
runs then must start at once. The general reader in `cryodl.core.io.star` needs pandas, which takes
longer to import than these files take to read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from cryodl.errors import InputError

_TOKEN = re.compile(r"""'[^']*'(?=\s|$)|"[^"]*"(?=\s|$)|\S+""")
_EMPTY = ("", "None", "none", "<NA>")


@dataclass
class StarBlock:
    """One ``data_`` block.

    Attributes
    ----------
    name : str
        What follows ``data_``; may be empty.
    values : dict
        Label without underscore to text, for a list block. Quotes are removed; unquoted text
        keeps its spaces, as RELION writes file names with spaces without quotes.
    columns : dict
        Label to the texts of its column, for a table block.
    """

    name: str
    source: str = ""
    values: dict[str, str] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)

    def text(self, label: str) -> str | None:
        """Return the value of `label`, or None when it is absent or RELION's word for nothing."""
        value = self.values.get(label)
        return None if value is None or value in _EMPTY else value

    def required(self, label: str) -> str:
        """Return the value of `label`.

        Raises
        ------
        InputError
            The label is not there.
        """
        value = self.text(label)
        if value is None:
            raise InputError(
                f"{self.source}: found no _{label} in block data_{self.name}, expected one as "
                "RELION 3.1, 4 and 5 write it; give a star file of relion_refine"
            )
        return value

    def number(self, label: str, default: float | None = None) -> float:
        """Return the value of `label` as a number; without a default it must be there."""
        if default is not None and self.text(label) is None:
            return default
        return _number(self.required(label), self.source, label)

    def numbers(self, label: str) -> list[float]:
        """Return column `label` of a table as numbers."""
        if label not in self.columns:
            raise InputError(
                f"{self.source}: found no column _{label} in block data_{self.name}, expected one; "
                "give a star file of relion_refine"
            )
        return [_number(value, self.source, label) for value in self.columns[label]]


def read_blocks(
    path: str | os.PathLike[str], names: Collection[str] | None = None
) -> dict[str, StarBlock]:
    """Read the blocks of a STAR file, in order of the file.

    Parameters
    ----------
    path : path-like
        The file; it is read no further than the last block wanted.
    names : collection of str, optional
        Names of the blocks wanted, without ``data_``; all by default.

    Returns
    -------
    dict
        Name to `StarBlock`; a block that the file does not have is absent.

    Raises
    ------
    InputError
        The file cannot be read or is no STAR file.
    """
    blocks: dict[str, StarBlock] = {}
    block: StarBlock | None = None
    labels: list[str] | None = None
    missing = None if names is None else set(names)
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                text = line.strip()
                if not text or text.startswith("#"):
                    continue
                if text.startswith("data_"):
                    if missing is not None and block is not None:
                        missing.discard(block.name)
                        if not missing:
                            break
                    block, labels = StarBlock(text[5:].strip(), str(path)), None
                    if names is None or block.name in names:
                        blocks[block.name] = block
                elif block is None:
                    raise InputError(
                        f"{path}: found text before the first data_ line, expected a STAR file; "
                        "give the star file that RELION wrote"
                    )
                elif text == "loop_":
                    labels = []
                elif names is None or block.name in names:
                    _take_line(block, labels, text)
    except OSError as error:
        raise InputError(
            f"{path}: could not be read ({error.strerror or error}), expected a STAR file of "
            "RELION; check the path and the permissions"
        ) from error
    return blocks


def read_comments(path: str | os.PathLike[str], count: int = 4) -> list[str]:
    """Return the comment lines at the top of a file, without ``#``, at most `count`."""
    comments: list[str] = []
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if not line.startswith("#") or len(comments) == count:
                    break
                comments.append(line[1:].strip())
    except OSError as error:
        raise InputError(
            f"{path}: could not be read ({error.strerror or error}), expected a STAR file of "
            "RELION; check the path and the permissions"
        ) from error
    return comments


def _take_line(block: StarBlock, labels: list[str] | None, text: str) -> None:
    if text.startswith("_"):
        label, _, rest = text[1:].partition(" ")
        if labels is None:
            block.values[label.strip()] = _unquote(rest.strip())
        else:
            labels.append(label.split("\t")[0])
            block.columns[labels[-1]] = []
        return
    if not labels:
        raise InputError(
            f"{block.source}: found {text[:40]!r} in block data_{block.name}, expected a label or "
            "a row of a table; the file is damaged, let RELION write it again"
        )
    tokens = _TOKEN.findall(text)
    if len(tokens) < len(labels):
        raise InputError(
            f"{block.source}: found a row of {len(tokens)} values in block data_{block.name}, "
            f"expected {len(labels)}; the file is incomplete, let RELION write it again"
        )
    for label, token in zip(labels, tokens):
        block.columns[label].append(_unquote(token))


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _number(text: str, source: str, label: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"{source}: found {text!r} for _{label}, expected a number; the file is damaged, let "
            "RELION write it again"
        ) from None
