"""Write what is generated from the engine's parameters: form schemas and tables in the docs.

    python scripts/generate_schemas.py            write what differs
    python scripts/generate_schemas.py --check    only tell what differs; exit status 1 if any does

A page of docs/ gets a table where it has a pair of lines

    <!-- generated: options of GROUP -->     (or: options of every command, migration of GROUP,
    <!-- end generated -->                      variables of relion_wrapper)
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import migration_tables
from migration_tables import default

from cryodl.cli import GROUPS, commands_of
from cryodl.core.config.parameters import CommandConfig
from cryodl.core.config.registry import Command
from cryodl.core.config.schema import describe, describe_field
from cryodl.core.io.atomic import write_text

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = ROOT / "cryodl_plugin" / "schemas"
DOCS = ROOT / "docs"
_BLOCK = re.compile(
    r"(?P<begin><!-- generated: (?P<what>options|migration|variables) of (?P<whom>[\w -]+?) -->\n)"
    r".*?(?P<end><!-- end generated -->)",
    re.DOTALL,
)
_EVERY = "every command"


def main() -> int:
    """Write or check all generated files; return the exit status."""
    parser = argparse.ArgumentParser(description="Write schemas and option tables.")
    parser.add_argument("--check", action="store_true", help="change nothing, tell what differs")
    check = parser.parse_args().check
    stale = outdated()
    for path, text in stale.items():
        sys.stdout.write(f"{'differs' if check else 'writing'}: {path.relative_to(ROOT)}\n")
        if check:
            continue
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
    if check and stale:
        sys.stdout.write("run: make schemas\n")
    return 1 if check and stale else 0


def outdated() -> dict[Path, str | None]:
    """Return the files that are not as they should be, with their right text (None: none)."""
    wanted: dict[Path, str | None] = {
        SCHEMAS / schema_name(command): schema_text(command)
        for group in GROUPS
        for command in commands_of(group)
    }
    wanted[SCHEMAS / "relion_wrapper.json"] = wrapper_schema_text()
    wanted.update({path: None for path in SCHEMAS.glob("*.json") if path not in wanted})
    wanted.update({page: page_text(page) for page in sorted(DOCS.rglob("*.md"))})
    return {
        path: text
        for path, text in wanted.items()
        if (path.read_text(encoding="utf-8") if path.exists() else None) != text
    }


def schema_name(command: Command) -> str:
    """Return the file name of a command's schema, ``spisonet_angular_whiten.json``."""
    return command.name.replace(" ", "_").replace("-", "_") + ".json"


def schema_text(command: Command) -> str:
    """Return what ``cryodl schema`` prints for a command."""
    return json.dumps(describe(command), indent=1, ensure_ascii=False) + "\n"


def wrapper_schema_text() -> str:
    """Return the variables of `relion_wrapper` in the form of a command's schema."""
    from cryodl.methods.spisonet.relion import settings

    fields = settings.RelionSettings.model_fields
    described = {
        "group": "relion_wrapper",
        "verb": "",
        "summary": "Misalignment correction inside a RELION refinement.",
        "help": "Variables of the environment, by the name in `original`.",
        "parameters": [
            {**describe_field(field, fields[field]), "flag": None, "original": name}
            for field, name in settings.variables().items()
        ],
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def page_text(page: Path) -> str:
    """Return a page with its generated blocks renewed."""

    def renewed(match: re.Match[str]) -> str:
        table = {"options": options, "migration": migration_tables.table, "variables": variables}
        return f"{match['begin']}\n{table[match['what']](match['whom'])}\n{match['end']}"

    return _BLOCK.sub(renewed, page.read_text(encoding="utf-8"))


def options(group: str) -> str:
    """Return the option tables of a group's commands, or of what every command takes."""
    if group == _EVERY:
        rows = [p for p in describe(commands_of("spisonet")[0])["parameters"] if _common(p)]
        return _table(rows)
    parts = []
    for command in commands_of(group):
        described = describe(command)
        inputs = [p["name"].upper() for p in described["parameters"] if p["positional"]]
        parts.append(
            f"### `{' '.join(['cryodl', command.name, *inputs])}`\n\n{described['help']}\n\n"
            + _table([p for p in described["parameters"] if not _common(p)])
        )
    return "\n".join(parts)


def variables(program: str) -> str:
    """Return the table of the environment variables that `relion_wrapper` obeys."""
    from cryodl.methods.spisonet.relion import settings

    lines = ["| variable | value | default | what it does |", "| --- | --- | --- | --- |"]
    for field, name in settings.variables().items():
        p = describe_field(field, settings.RelionSettings.model_fields[field])
        cells = (f"`{name}`", _value(p), default(p), _escaped(p["help"]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _common(parameter: dict[str, Any]) -> bool:
    return parameter["name"] in CommandConfig.model_fields


def _table(parameters: list[dict[str, Any]]) -> str:
    lines = ["| option | value | default | what it does |", "| --- | --- | --- | --- |"]
    for p in parameters:
        name = f"`{p['flag'] or p['name'].upper()}`" + (" (expert)" if p["expert"] else "")
        lines.append(f"| {name} | {_value(p)} | {default(p)} | {_escaped(p['help'])} |")
    return "\n".join(lines) + "\n"


def _value(parameter: dict[str, Any]) -> str:
    if parameter["choices"]:
        return " or ".join(f"`{choice}`" for choice in parameter["choices"])
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}
    limits = [f"{signs[key]} {limit:g}" for key, limit in parameter["limits"].items()]
    kind = {"boolean": "yes or no", "path": "file or folder"}.get(
        parameter["type"], parameter["type"]
    )
    unit = {"angstrom": "Å", "degrees": "°"}.get(parameter["unit"], parameter["unit"])
    return ", ".join(filter(None, [kind + ("s" if parameter["list"] else ""), unit, *limits]))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


if __name__ == "__main__":
    raise SystemExit(main())
