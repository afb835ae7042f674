"""Everything of the five published manuals is on the page, and what the page says runs."""

import importlib.util
import json
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from cryodl import cli
from cryodl.core.config.schema import describe
from cryodl.core.geometry.rotations import matrix_to_euler
from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.core.io.particles.read import read_particles

ROOT = Path(__file__).resolve().parents[3]
ORIGINALS = json.loads((Path(__file__).parent / "originals.json").read_text(encoding="utf-8"))


def load_tables():
    """Import the module of scripts/ that makes the page's tables."""
    path = ROOT / "scripts" / "migration_tables.py"
    spec = importlib.util.spec_from_file_location("migration_tables", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TABLES = load_tables()
ROWS = [row for group in TABLES.BLOCKS for row in TABLES.rows(group)]
BLOCKS = [block for blocks in TABLES.BLOCKS.values() for block in blocks]
OURS = list(dict.fromkeys(block["ours"] for block in BLOCKS))


NUMBERS = ("integer", "number")
ELSEWHERE = {"relion_wrapper": "test_relion_*.py", "doctor": "test_doctor.py"}


def read_runs():
    """Return (name, command, words) of each line of small_runs.txt; indented lines go on."""
    text = (Path(__file__).parent / "small_runs.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = []
    for line in "\n".join(lines).replace("\n    ", " ").splitlines():
        name, _, rest = line.partition(": ")
        words = rest.split()
        found.append((name, " ".join(words[:2]), words[2:]))
    return found


RUNS = {name: (command, words) for name, command, words in read_runs()}


@pytest.mark.parametrize("original", ORIGINALS)
def test_every_option_of_the_manuals_is_a_row(original):
    assert original in [block["original"] for block in BLOCKS]
    known = [TABLES.names_of(row.option) for row in ROWS if row.original == original]
    missing = [o for o in ORIGINALS[original] if not any(o in names for names in known)]
    assert missing == []


def test_every_row_is_on_the_page_with_an_answer():
    page = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert row.ours or row.remark, f"{row}: neither counterpart nor reason"
        cell = row.option.replace("|", "\\|")
        assert f"| `{row.original}` | `{cell}` |" in page


@pytest.mark.parametrize(
    "block",
    [
        {"original": "a", "ours": "spisonet fly", "also": {}},
        {"original": "a", "ours": "spisonet whiten", "also": {"-x": "--no-such"}},
        {"original": "a", "ours": "spisonet whiten", "also": {"-x": "because"}},
        {"original": "a", "ours": "relion_wrapper", "also": {"-x": "ISONET_NO_SUCH"}},
        {
            "original": "a",
            "ours": "spisonet whiten",
            "also": {"-x": "of another command: `cet-pick train --no-such`"},
        },
    ],
)
def test_a_wrong_answer_is_found(monkeypatch, block):
    monkeypatch.setitem(TABLES.BLOCKS, "spisonet", [block])
    with pytest.raises(ValueError, match="migration.json"):
        TABLES.rows("spisonet")


def prepare(folder):
    """Put files of the published programs where the runs look for them."""
    star = read_particles(folder / "subtomograms" / "truth" / "particles.star")
    shifts = star.shifts_angstrom / star.pixel_size_angstrom[:, None] / star.box_size_px
    angles = matrix_to_euler(star.rotations)
    poses = (star.rotations, shifts, angles)
    (folder / "poses.pkl").write_bytes(pickle.dumps(poses, protocol=2))
    places = read_coordinates(folder / "tomogram" / "truth" / "coordinates.txt").xyz_px
    entries = {
        f"id{i}": {"center": place, "id": f"id{i}", "v": np.zeros((12, 12, 12))}
        for i, place in enumerate(places.tolist())
    }
    content = {"v_siz": np.array([12, 12, 12]), "vs": entries}
    (folder / "subvolumes.pickle").write_bytes(pickle.dumps(content, protocol=2))
    points = np.float32(places + [0.5, 0.5, 0]).astype(">f4").tobytes()
    (folder / "picks.mod").write_bytes(
        b"IMODV1.2" + b"\0" * 232 + b"OBJT" + b"\0" * 176
        + b"CONT" + struct.pack(">iIii", len(places), 0, 0, 0) + points + b"IEOF"
    )  # fmt: skip
    (folder / "classes.json").write_text('{"1": [0]}')


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("migration")


def words_of(name, folder):
    command, words = RUNS[name]
    places = {other: str(folder / other) for other in RUNS}
    filled = [word.format(str(folder), **places) for word in words]
    return [*command.split(), *filled, "--output", str(folder / name)]


@pytest.mark.parametrize("name", RUNS)
def test_the_command_runs(name, folder):
    if name == "fsc3d":  # what comes before are the data
        prepare(folder)
    assert cli.main(words_of(name, folder)) == 0
    result = json.loads((folder / name / "result.json").read_text())
    files = result["files"]
    assert files and all((folder / name / file).exists() for file in files)


def test_every_command_of_the_page_runs_here_or_where_it_is_tested():
    ran = {command for command, _ in RUNS.values()}
    for ours in OURS:
        if ours in ELSEWHERE:
            assert list((ROOT / "engine" / "tests").rglob(ELSEWHERE[ours]))
        else:
            assert ours in ran


@pytest.mark.parametrize("ours", [name for name in OURS if name not in ELSEWHERE])
def test_every_option_of_the_page_is_taken_by_its_command(ours, monkeypatch):
    """What the small runs do not use is added to one of them, which then is only read."""
    taken = []
    monkeypatch.setattr(cli, "execute", lambda command, config: taken.append(config))
    command = next(c for word in cli.GROUPS for c in cli.commands_of(word) if c.name == ours)
    parameters = {p["flag"]: p for p in describe(command)["parameters"] if p["flag"]}
    words = next(words for name, words in RUNS.values() if name == ours)
    used = {word.replace("_", "-").replace("--no-", "--") for word in words}
    wanted = {row.ours for row in ROWS if row.command == ours} & set(parameters)
    added = {flag: example(parameters[flag]) for flag in sorted(wanted - used - {"--output"})}
    more = [word for flag, value in added.items() for word in [flag, value][: 1 + bool(value)]]
    assert cli.main([*ours.split(), *words, *more, "--output", "o"]) == 0
    for flag, value in added.items():
        found = getattr(taken[0], parameters[flag]["name"])
        assert str(found[0] if isinstance(found, list) else found) in (value, f"{value}.0", "True")


def example(parameter):
    """Return a value that an option takes; an empty text for a yes."""
    if parameter["type"] == "boolean":
        return ""
    if parameter["choices"]:
        return str(parameter["choices"][-1])
    if parameter["default"] not in (None, []):
        return str(parameter["default"])
    limits = parameter["limits"]
    least = max(limits.get("ge", 1), limits.get("gt", 0) + 1, limits.get("multiple_of", 1))
    return str(min(least, limits.get("le", least))) if parameter["type"] in NUMBERS else "x"
