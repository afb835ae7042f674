"""STAR files as the engine writes and reads them: blocks of rows, all values as text.

The readers for what other programs write are in the engine, which turns it all into one dialect.
The one here is small because it meets that dialect only; unlike ``emtable``, which Scipion brings,
it keeps paths with blanks and says in one line what is wrong.
"""

import os
import re

_TOKEN = re.compile(r"'([^']*)'|\"([^\"]*)\"|(\S+)")
EMPTY = "None"
"""What stands where there is no value."""


class StarError(ValueError):
    """A STAR file cannot be used; one line says why."""


def readStar(path):
    """Return the blocks of a STAR file: name without ``data_`` -> list of rows, label -> text.

    Raises
    ------
    StarError
        No file, no block, or a row with too many or too few values.
    """
    blocks, labels, rows, single = {}, [], [], {}
    inLoop = False
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StarError(f"{path}: cannot be read as a STAR file ({error})") from None
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("data_"):
            labels, rows, single, inLoop = [], [], {}, False
            blocks[text[len("data_") :]] = rows
        elif text == "loop_":
            labels, inLoop = [], True
        elif text.startswith("_") and inLoop and not rows:
            labels.append(text.split()[0][1:])
        elif not inLoop and text.startswith("_") and blocks:
            label, *values = _values(text)
            single[label[1:]] = values[0] if values else EMPTY
            rows[:] = [single]
        else:
            values = _values(text)
            if not labels or len(values) != len(labels):
                raise StarError(
                    f"{path}, line {number}: found {len(values)} values, expected {len(labels)} as "
                    "there are labels; write the file anew"
                )
            rows.append(dict(zip(labels, values)))
    if not blocks:
        raise StarError(f"{path}: found no data_ block, expected a STAR file; choose another file")
    return blocks


def writeStar(path, blocks):
    """Write blocks of rows, in RELION's layout; the name appears only when the file is whole.

    Parameters
    ----------
    path : str
        Of the file.
    blocks : dict
        Name -> list of dicts; all rows of a block have the labels of its first.
    """
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write("\n# version 30001\n")
        for name, rows in blocks.items():
            file.write(f"\ndata_{name}\n\nloop_\n")
            labels = list(rows[0]) if rows else []
            file.writelines(f"_{label} #{i}\n" for i, label in enumerate(labels, 1))
            for row in rows:
                file.write(" ".join(_written(row[label]) for label in labels) + "\n")
            file.write("\n")
    os.replace(temporary, path)


def _values(text):
    if "'" not in text and '"' not in text:
        return text.split()
    return [single or double or plain for single, double, plain in _TOKEN.findall(text)]


def _written(value):
    if value is None:
        return EMPTY
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value)
    if not text:
        return EMPTY
    if not re.search(r"\s", text):
        return text
    return f'"{text}"' if '"' not in text else f"'{text}'"
