"""Schemas and tables in the docs are what the engine's parameters say now."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cryodl import cli
from cryodl.core.config.parameters import CommandConfig
from cryodl.core.config.schema import describe

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EVERY_COMMAND = [command for group in cli.GROUPS for command in cli.commands_of(group)]


def run_script(name, *arguments):
    command = [sys.executable, str(ROOT / "scripts" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_nothing_differs_from_what_would_be_generated():
    done = run_script("generate_schemas.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: command.name)
def test_schema_of_every_command_is_there(command):
    name = command.name.replace(" ", "_").replace("-", "_")
    path = ROOT / "cryodl_plugin" / "schemas" / f"{name}.json"
    assert json.loads(path.read_text(encoding="utf-8")) == describe(command)


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: command.name)
def test_every_option_is_on_a_page(command):
    pages = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    section = re.search(rf"^### `cryodl {command.name}[ `].*?(?=^#)", pages + "\n#", re.M | re.S)
    assert section, f"no page has <!-- generated: options of {command.group} -->"
    for p in describe(command)["parameters"]:
        place = pages if p["group"] == "Run" else section.group()
        assert f"`{p['flag'] or p['name'].upper()}`" in place


def test_every_original_option_is_in_the_migration_table():
    table = (DOCS / "migration.md").read_text(encoding="utf-8")
    for command in EVERY_COMMAND:
        for p in describe(command)["parameters"]:
            if p["original"] and p["name"] not in CommandConfig.model_fields:
                ours = p["flag"] or p["name"].upper()
                original = p["original"].replace("|", "\\|")
                assert f"| `{original}` | `{ours}` |" in table, command.name


def test_a_difference_is_found_and_mended(tmp_path):
    """In a copy: a changed schema, a stray one and an emptied table are told and put right."""
    for name in ("scripts", "cryodl_plugin/schemas", "docs"):
        for source in (ROOT / name).rglob("*"):
            if source.suffix in (".py", ".json", ".md"):
                target = tmp_path / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
    schema = tmp_path / "cryodl_plugin/schemas/spisonet_fsc3d.json"
    stray = schema.with_name("spisonet_gone.json")
    page = tmp_path / "docs/methods/spisonet.md"
    right = schema.read_text(), page.read_text()
    schema.write_text(right[0].replace("10.0", "20.0"))
    stray.write_text("{}")
    page.write_text(right[1].replace("| `--cone-angle`", "| `--cone`"))

    def script(*words):
        program = [sys.executable, str(tmp_path / "scripts/generate_schemas.py"), *words]
        return subprocess.run(program, capture_output=True, text=True)

    check = script("--check")
    assert check.returncode == 1
    for path in (schema, stray, page):
        assert path.name in check.stdout
    assert stray.exists()
    assert script().returncode == 0
    assert (schema.read_text(), page.read_text()) == right and not stray.exists()
    assert script("--check").returncode == 0


def test_all_links_lead_somewhere():
    done = run_script("check_links.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_link_is_found(tmp_path):
    for name in ("docs", "scripts"):
        (tmp_path / name).mkdir()
    script = tmp_path / "scripts" / "check_links.py"
    script.write_bytes((ROOT / "scripts" / "check_links.py").read_bytes())
    (tmp_path / "docs" / "a.md").write_text("# One *Two*\n[x](b.md) [y](#no) [z](#one-two)\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "b.md" in done.stdout and "#no" in done.stdout and "#one-two" not in done.stdout


def test_commands_in_the_pages_exist():
    """A command that a page shows in a code block is one of ours, with options that it has."""
    known = {c.name: c for word in (*cli.GROUPS, *cli.SINGLES) for c in cli.commands_of(word)}
    checked = 0
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]:
        blocks = re.findall(r"^```.*?\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
        for words in (line.split() for line in lines if line.strip().startswith("cryodl ")):
            if {"METHOD", "schema", "--help", "--version"} & set(words):
                continue
            name = " ".join(words[1:3]) if words[1] in cli.GROUPS else words[1]
            assert name in known, f"{page.name}: {' '.join(words)}"
            flags = {p["flag"] for p in describe(known[name])["parameters"]} | {"--config"}
            for word in words:
                if word.startswith("--"):
                    assert word.split("=")[0] in flags, f"{page.name}: {' '.join(words)}"
            checked += 1
    assert checked > 5


def test_make_targets_that_the_pages_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]:
        named = re.findall(r"[`\n ]make ([a-z-]+)[`\n ]", page.read_text(encoding="utf-8"))
        for name in named:
            if f"`make {name}`" in page.read_text(encoding="utf-8"):
                assert name in targets, f"{page.name}: make {name}"
