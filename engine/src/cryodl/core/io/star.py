"""STAR files: tables and lists of RELION, Warp and M, read and written whole.

The text is taken apart here, because the usual parser loses rows that begin with ``data_``, reads
``0_1`` as a number and stops on an empty block; the tables are read with pandas, which is imported
when first needed, for that takes half a second. They are written column by column: the usual writer
needs a quarter of a minute for 200,000 rows.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodl.core.io.atomic import write_text
from cryodl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_INTEGER = re.compile(r"[-+]?\d+")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", re.IGNORECASE)
_SINGLE_QUOTED = re.compile(r"(?<!\S)'([^'\"\n]*)'(?!\S)")
_QUOTED_OR_COMMENT = re.compile(r"""(?<!\S)(?:'[^']*'|"[^"]*")(?!\S)|\s(#)""")
_VERSION = re.compile(r"#\s*version\s+(\d+)")
_MISSING = ("nan", "NaN", "-nan", "<NA>")
_FLOAT_FORMAT = "%.9g"
_FORBIDDEN = re.compile(r'[\n\r\t"]')


class StarBlocks(dict[str, Any]):
    """Block name (without ``data_``) to a `pandas.DataFrame` for a table, a dict for a list.

    Attributes
    ----------
    version : int or None
        Of the first ``# version`` comment, 30001 for RELION 3.1 and 4, 50001 for RELION 5.
    """

    def __init__(self, blocks: Mapping[str, Any] | None = None, version: int | None = None):
        super().__init__(blocks or {})
        self.version = version


@dataclass
class _Block:
    """The text of one block: labels with values of a list, or columns and rows of a table."""

    name: str
    first_line: int
    is_table: bool = False
    values: dict[str, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    row_lines: list[int] = field(default_factory=list)


def read_star(path: str | os.PathLike[str]) -> StarBlocks:
    """Read every block of a STAR file.

    Parameters
    ----------
    path : path-like
        The file, in UTF-8.

    Returns
    -------
    StarBlocks
        A dict: block name (without ``data_``) to `pandas.DataFrame` for a table, dict for a list.
        Labels come without the leading underscore. What looks like a number is one, except under
        labels that end in ``Name``, so that a tomogram called 083 keeps its zero.

    Raises
    ------
    InputError
        Missing, unreadable or empty file, text that is not STAR, two blocks of one name, rows
        that do not match their columns.
    """
    text = _read_text(Path(path))
    version = _VERSION.search(text)
    blocks = StarBlocks(version=int(version.group(1)) if version else None)
    for block in _split(text, str(path)):
        if block.name in blocks:
            raise InputError(
                f"{path}: line {block.first_line} begins a second block data_{block.name}, "
                "expected each name once; remove or rename one of them"
            )
        if block.is_table:
            blocks[block.name] = _table(block, str(path))
        else:
            blocks[block.name] = {k: _value(k, text) for k, text in block.values.items()}
    if not blocks:
        raise InputError(
            f"{path}: found no line that begins with data_, expected a STAR file; give the STAR "
            "file of a RELION job"
        )
    return blocks


def write_star(
    path: str | os.PathLike[str], blocks: Mapping[str, Any], *, version: int | None = None
) -> None:
    """Write a STAR file, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file to write.
    blocks : mapping
        Block name to DataFrame or dict, as `read_star` gives them.
    version : int, optional
        Goes into a ``# version`` comment; by default that of the `blocks`, if they have one.

    Raises
    ------
    InputError
        A text that a STAR file cannot hold (line breaks, both kinds of quotes).
    ResourceError
        Disk full, no permission.
    """
    if version is None:
        version = getattr(blocks, "version", None)
    lines = [f"\n# version {version}\n" if version is not None else ""]
    for name, block in blocks.items():
        lines.append(f"data_{name}\n")
        if isinstance(block, dict):
            _check_writable(name, [v for v in block.values() if isinstance(v, str)], path)
            lines += [f"_{label}\t\t\t{_quoted(value)}" for label, value in block.items()]
        else:
            lines += _table_lines(name, block, path)
        lines.append("\n")
    write_text(path, "\n".join(lines) + "\n")


@contextlib.contextmanager
def many_objects() -> Iterator[None]:
    """Put off the search for garbage while millions of names and rows are made, none of them it.

    It would look through all of them again and again, a third of the time of a large file.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def require_columns(
    table: pd.DataFrame | Mapping[str, Any], names: Iterable[str], path: str | os.PathLike[str]
) -> None:
    """Make sure that a table has some columns, or a list some labels.

    Raises
    ------
    InputError
        Names the columns that are missing and those that are there.
    """
    missing = [name for name in names if name not in table]
    if missing:
        present = ", ".join(map(str, table)) or "none"
        raise InputError(
            f"{path}: found no column {', '.join(missing)} (there are: {present}), expected "
            "all of them; give the file of a job that writes them"
        )


def _read_text(source: Path) -> str:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{source}: does not exist, expected a STAR file; check the name and the folder"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the name
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InputError(
            f"{str(source)!r}: cannot be read ({reason}), expected a STAR file; check the name "
            "and the permissions, or give another file"
        ) from error
    if not text.strip() or "\0" in text:
        found = "is empty" if not text.strip() else "is not text"
        raise InputError(
            f"{source}: {found}, expected a STAR file; give the STAR file of a RELION job"
        )
    return text


def _split(text: str, name: str) -> Iterable[_Block]:
    """Yield the blocks of a text in their order."""
    block: _Block | None = None
    after_blank = True
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            after_blank = True
            continue
        if block is not None and block.rows and not line.startswith("data_"):
            # What nearly all lines of a long file are.
            block.rows.append(line)
            block.row_lines.append(number)
        elif _begins_block(line, block, after_blank):
            if block is not None:
                yield block
            block = _Block(line[5:], number)
        elif block is None:
            raise InputError(
                f"{name}: line {number} is {line[:40]!r}, expected a line that begins with data_; "
                "this is not a STAR file, give the STAR file of a RELION job"
            )
        else:
            _take_line(block, line, number, name)
        after_blank = False
    if block is not None:
        yield block


def _begins_block(line: str, block: _Block | None, after_blank: bool) -> bool:
    """Tell ``data_particles`` from a row whose first column is ``data_2024/mic_1.mrc``."""
    if not line.startswith("data_") or len(line.split()) != 1:
        return False
    in_one_column = block is not None and len(block.columns) == 1
    return after_blank or not in_one_column


def _take_line(block: _Block, line: str, number: int, name: str) -> None:
    if line.split()[0] == "_" and not block.rows:
        raise InputError(
            f"{name}: line {number} is {line[:40]!r} in block data_{block.name}, expected a name "
            "after the _; the file is damaged, make it again"
        )
    if block.is_table:
        if line.startswith("_") and not block.rows:
            block.columns.append(line.split()[0][1:])
        else:
            block.rows.append(line)
            block.row_lines.append(number)
    elif line.split()[0] == "loop_" and not block.values:
        block.is_table = True
    elif line.startswith("_"):
        label, *value = _without_comment(line)[1:].split(None, 1)
        block.values[label] = value[0] if value else ""
    else:
        raise InputError(
            f"{name}: line {number} is {line[:40]!r} in block data_{block.name}, expected a label "
            "that begins with _; the file is damaged, make it again"
        )


def _table(block: _Block, name: str) -> pd.DataFrame:
    import pandas as pd

    where = f"{name}: block data_{block.name}"
    columns = block.columns
    if not columns or len(set(columns)) != len(columns):
        found = "two columns of one name" if columns else "a loop_ without columns"
        raise InputError(f"{where} has {found}, expected each column once; make the file again")
    if not block.rows:
        return pd.DataFrame({column: [] for column in columns})
    text = "\n".join(_without_comment(row) for row in block.rows)
    if "'" in text:
        text = _SINGLE_QUOTED.sub(r'"\1"', text)
    texts = {i: str for i, column in enumerate(columns) if column.endswith("Name")}
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=r"\s+",
            header=None,
            dtype=texts,
            keep_default_na=False,
            skip_blank_lines=False,
            engine="c",
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(
            f"{where} has rows that do not match its {len(columns)} columns "
            f"({' '.join(str(error).split())}), expected one value for each; the file is damaged "
            "or was edited, make it again"
        ) from error
    _check_rows(block, table, where)
    table.columns = pd.Index(columns)
    for column in table.columns:
        if not column.endswith("Name") and not pd.api.types.is_numeric_dtype(table[column]):
            table[column] = _as_numbers(table[column])
    return table


def _without_comment(row: str) -> str:
    if " #" not in row and "\t#" not in row:
        return row
    # A # inside quotes is part of a name.
    comment = next((m for m in _QUOTED_OR_COMMENT.finditer(row) if m.group(1)), None)
    return row if comment is None else row[: comment.start()]


def _check_rows(block: _Block, table: pd.DataFrame, where: str) -> None:
    """Refuse a table that is too narrow, too wide, or has a row that ends early."""
    expected = len(block.columns)
    row = 0
    found = table.shape[1]
    if found == expected:
        if len(table) != len(block.rows):
            raise InputError(
                f"{where} has {len(table)} rows on {len(block.rows)} lines, expected as many; "
                "a quote is not closed, mend or make the file again"
            )
        # A row that ends early leaves its last cell empty; so may a word that stands there.
        last = table.iloc[:, -1]
        short = (
            i
            for i in table.index[last.isna() | (last == "")]
            if '"' not in block.rows[i] and len(_without_comment(block.rows[i]).split()) < expected
        )
        row = next(short, -1)
        if row < 0:
            return
        found = len(block.rows[row].split())
    raise InputError(
        f"{where}, line {block.row_lines[row]} has {found} values, expected {expected}; "
        "the file is damaged or was edited, make it again"
    )


def _as_numbers(column: pd.Series) -> pd.Series:
    import pandas as pd

    try:
        return pd.to_numeric(column.mask(column.isin(_MISSING)))
    except (ValueError, TypeError):
        return column


def _value(label: str, text: str) -> str | int | float:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if label.endswith("Name"):
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _table_lines(name: str, table: Any, path: str | os.PathLike[str]) -> list[str]:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"block {name} is a {type(table).__name__}, expected DataFrame or dict")
    lines = ["loop_", *(f"_{label} #{i}" for i, label in enumerate(table.columns, start=1))]
    columns = [_column_texts(name, table.iloc[:, i], path) for i in range(table.shape[1])]
    return lines + list(map("\t".join, zip(*columns)))


def _column_texts(name: str, column: pd.Series, path: str | os.PathLike[str]) -> list[str]:
    """Return the cells of a column as they go into the file."""
    import pandas as pd

    kind = column.dtype.kind if not pd.api.types.is_extension_array_dtype(column) else "O"
    values = column.tolist()
    if kind == "f":
        if len(values) > 1 and values.count(values[0]) == len(values):
            return [_FLOAT_FORMAT % values[0]] * len(values)
        return list(map(_FLOAT_FORMAT.__mod__, values))
    if kind in "iub":
        return list(map(str, values))
    _check_writable(name, [value for value in values if isinstance(value, str)], path)
    empty = pd.isna(column).tolist()
    return ["nan" if bare else _quoted(value) for value, bare in zip(values, empty)]


def _quoted(value: Any) -> str:
    text = str(value)
    if isinstance(value, str) and (not text or " " in text or text[0] in "_#'"):
        return f'"{text}"'
    return text


def _check_writable(name: str, texts: list[str], path: str | os.PathLike[str]) -> None:
    if not _FORBIDDEN.search("".join(texts)):
        return
    text = next(text for text in texts if _FORBIDDEN.search(text))
    raise InputError(
        f"{path}: block data_{name} would hold the text {text[:60]!r}, expected no line "
        "break, tab or double quote; rename what it names"
    )
