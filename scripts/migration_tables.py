"""Tables from the commands and options of the published programs to ours.

Most rows come from the parameters themselves (``original=``). What they cannot say is in
migration.json: which command of ours stands for which of theirs, inputs without a name, and, for
what has no counterpart, the reason. A reason begins with one of `REASONS`; what names an option of
ours is checked against our commands.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from cryodl.cli import GROUPS, SINGLES, commands_of
from cryodl.core.config.parameters import CommandConfig
from cryodl.core.config.schema import describe

BLOCKS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "migration.json").read_text(encoding="utf-8")
)
REASONS = ("not needed:", "always on", "fixed:", "chosen by the program", "refused:", "the same ")
_ELSEWHERE = "of another command:"
_WRAPPER = "relion_wrapper"
_HELP = "--help"


class Row(NamedTuple):
    """One option of an original command; `ours` is empty where `remark` is a reason."""

    original: str
    option: str
    command: str
    ours: str
    remark: str


def rows(group: str) -> list[Row]:
    """Return the rows of a group's table.

    Raises
    ------
    ValueError
        migration.json names a command or option that there is not, or gives no reason.
    """
    found: list[Row] = []
    done: set[str] = set()
    for block in BLOCKS[group]:
        original, ours = block["original"], block["ours"]
        parameters = _parameters(ours)
        if ours not in done and ours != _WRAPPER:
            found += [
                Row(original, str(p["original"]), ours, _flag(p), default(p))
                for p in parameters.values()
                if p["original"] and p["name"] not in CommandConfig.model_fields
            ]
        done.add(ours)
        for option, answer in block["also"].items():
            answered = _answered(original, option, answer, parameters)
            row = Row(original, option, ours, *answered)
            if row not in found:  # a command's own options need not be said twice
                found.append(row)
    return found


def table(group: str) -> str:
    """Return the table of commands and that of options as Markdown."""
    lines = ["| original | here |", "| --- | --- |"]
    for block in BLOCKS[group]:
        ours = block["ours"]
        lines.append(f"| `{block['original']}` | `{'' if ours == _WRAPPER else 'cryodl '}{ours}` |")
    lines += ["", "| original | option | here | default, or why there is none |"]
    lines.append("| --- | --- | --- | --- |")
    for row in rows(group):
        ours = f"`{row.ours}`" if row.ours else ""
        cells = (f"`{row.original}`", f"`{row.option}`", ours, row.remark)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def default(parameter: dict[str, Any]) -> str:
    """Return the default of a parameter as it stands in a table."""
    if parameter["required"]:
        return "required"
    value = parameter["default"]
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`"


def _answered(
    original: str, option: str, answer: str, parameters: dict[str, dict[str, Any]]
) -> tuple[str, str]:
    if answer in parameters:
        return answer, default(parameters[answer]) if answer != _HELP else ""
    if answer.startswith(_ELSEWHERE):
        words = answer.removeprefix(_ELSEWHERE).strip().strip("`").split()
        flags = [word for word in words if word.startswith("--")]
        known = _parameters(" ".join(word for word in words if word not in flags))
        if all(flag in known for flag in flags):
            return "", answer
    elif answer.startswith(REASONS):
        return "", answer
    raise ValueError(
        f"migration.json: {original} {option} has {answer!r}, expected an option of ours or a "
        f"reason that begins with {', '.join((*REASONS, _ELSEWHERE))}"
    )


def _parameters(name: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of a command, or the variables of the wrapper, as people write them."""
    if name == _WRAPPER:
        return _variables()
    for word in (*GROUPS, *SINGLES):
        for command in commands_of(word) if name.split()[0] == word else ():
            if command.name == name:
                found = {_flag(p): p for p in describe(command)["parameters"]}
                return {**found, _HELP: {"name": "help", "original": None}}
    raise ValueError(f"migration.json: found the command {name!r}, expected one of ours")


def _variables() -> dict[str, dict[str, Any]]:
    from cryodl.core.config.schema import describe_field
    from cryodl.methods.spisonet.relion import settings

    fields = settings.RelionSettings.model_fields
    return {n: describe_field(f, fields[f]) for f, n in settings.variables().items()}


def _flag(parameter: dict[str, Any]) -> str:
    return str(parameter["flag"] or parameter["name"].upper())


def names_of(option: str) -> set[str]:
    """Return the spellings that a cell of options stands for: ``-n/--num-epochs`` is two."""
    parts = [part.strip() for part in re.split(r"[/|]| \(", option)]
    return {option, *parts, option.split()[-1]}
