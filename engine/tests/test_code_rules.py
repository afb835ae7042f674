"""The rules of size and naming that keep the house easy to walk through."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("engine", "cryodl_plugin", "scripts", "benchmarks")
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "tools", "stuff"}
CONSOLE_SCRIPTS = ("relion_wrapper.py",)
# Places of one machine, and calls that have a better way here.
MACHINE_PATH = re.compile(r"""["'](/work/|/tmp/|/root/|/home/|/opt/|/mnt/)""")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


def python_files():
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    hidden = {"build", "dist", "__pycache__"}
    return sorted(path for path in found if not hidden & set(path.relative_to(ROOT).parts))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def is_test(path):
    return "tests" in path.parts


def functions(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def body_lines(node):
    """Count a function's lines without its docstring: explaining is not what makes it long."""
    total = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        total -= node.body[0].end_lineno - node.body[0].lineno + 1
    return total


def library_faults(source):
    """Return what a file of the library must not do, as (line, what)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare except"
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert; raise an error that says what to do"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            if names & {"pickle", "dill", "joblib"}:
                yield node.lineno, "pickle"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            words = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called == "torch.load" and words.get("weights_only") != "True":
                yield node.lineno, "torch.load without weights_only=True"
            if called in ("np.load", "numpy.load") and words.get("allow_pickle") == "True":
                yield node.lineno, "np.load with pickles"
            if called == "sys.exit":
                yield node.lineno, "sys.exit"
            if called == "print":
                yield node.lineno, "print"


@pytest.mark.parametrize("path", python_files(), ids=name_of)
def test_file(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MOST_LINES_OF_A_FILE
    long = [n.name for n in functions(source) if body_lines(n) > MOST_LINES_OF_A_FUNCTION]
    assert not long
    assert path.stem.strip("_") not in EMPTY_NAMES
    if is_test(path):
        return
    assert not MACHINE_PATH.search(source), MACHINE_PATH.search(source).group()
    assert not UNFINISHED.search(source), UNFINISHED.search(source).group()
    if name_of(path).startswith("engine/"):
        may_exit = path.name in CONSOLE_SCRIPTS
        faults = [f for f in library_faults(source) if not (may_exit and f[1] == "sys.exit")]
        assert faults == []


def test_no_folder_is_named_for_nothing():
    names = {part for path in python_files() for part in path.relative_to(ROOT).parts}
    assert not names & EMPTY_NAMES


def test_the_rules_find_what_they_forbid():
    bad = (
        "import pickle\nfrom pickle import loads\ntry:\n    pass\nexcept:\n    pass\n"
        "assert True\ntorch.load(p)\nnp.load(p, allow_pickle=True)\nsys.exit(1)\nprint(1)\n"
    )
    found = {what.split(";")[0] for _, what in library_faults(bad)}
    assert len(found) == 7 and len(list(library_faults(bad))) == 8
    long = "def f():\n" + "    x = 1\n" * MOST_LINES_OF_A_FUNCTION
    assert [body_lines(n) > MOST_LINES_OF_A_FUNCTION for n in functions(long)] == [True]
    told = 'def f():\n    """' + "\n" * 70 + '"""\n    x = 1\n'
    assert [body_lines(n) for n in functions(told)] == [2]
    assert MACHINE_PATH.search("open('/work/x')") and UNFINISHED.search("# TODO: x")
    assert list(library_faults("torch.load(p, weights_only=True)")) == []


def test_test_files_have_names_of_their_own():
    """pytest takes two files of one name in folders without __init__.py for the same module."""
    stems = [path.stem for path in (ROOT / "engine" / "tests").rglob("test_*.py")]
    assert len(stems) == len(set(stems))


def test_versions_agree():
    def version(name):
        text = (ROOT / name).read_text(encoding="utf-8")
        return re.search(r'^__version__ = "([^"]+)"', text, re.M).group(1)

    engine = version("engine/src/cryodl/__init__.py")
    assert version("cryodl_plugin/__init__.py") == engine
    assert f"## {engine}" in (ROOT / "CHANGES.md").read_text(encoding="utf-8")


def test_constraints_hold_no_place_and_one_version_of_each():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    form = re.compile(r'^[\w.-]+==[\w.]+( ; python_version (>=|<) "3\.1\d")?$')
    assert len(pins) > 80
    assert [line for line in pins if not form.match(line)] == []
    assert "numpy==1.26.1" in pins and "torch==2.13.0" in pins
    names = [line.split(" ;")[0].split("==")[0].lower() for line in pins]
    assert {name for name in names if names.count(name) > 1} == {"scipy"}
