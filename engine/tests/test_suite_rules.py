"""The rules of conftest.py at the top: what is skipped, and what must not be."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SUITE = """
import pytest
@pytest.mark.relion
def test_relion(): pytest.skip("not here")
@pytest.mark.gui
def test_gui(): pytest.skip("not here")
def test_plain(): pytest.skip("a reason")
@pytest.mark.gui
@pytest.mark.xfail(reason="known")
def test_known(): assert False
@pytest.mark.slow
def test_slow(): pass
def test_good(): pass
"""


def run_suite(folder, ci, *arguments, **programs):
    (folder / "test_inner.py").write_text(SUITE)
    (folder / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    surroundings = folder / "cryodl_plugin" / "tests" / "surroundings.py"
    surroundings.parent.mkdir(parents=True, exist_ok=True)
    surroundings.write_text("")  # what Scipion needs is not what is tested here
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n relion\n gui\n slow\n gpu\naddopts = -p no:cacheprovider -q\n"
    )
    environment = {**os.environ, **programs}
    environment.pop("CI", None)
    if ci:
        environment["CI"] = "true"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


def test_skips_are_failures_on_continuous_integration_only(tmp_path):
    status, said = run_suite(tmp_path, ci=False)
    assert status == 0 and "1 passed, 3 skipped, 1 deselected, 1 xfailed" in said
    status, said = run_suite(tmp_path, ci=True)
    assert status == 1 and "2 failed, 1 passed, 1 skipped, 1 deselected, 1 xfailed" in said
    assert "skipped on continuous integration" in said


def test_missing_programs_are_skips_or_failures(tmp_path):
    status, said = run_suite(tmp_path, True, "-m", "relion", "-rs", PATH=str(tmp_path))
    assert status == 1 and "needs relion_refine" in said


def test_slow_tests_run_when_asked_for(tmp_path):
    assert "1 passed" in run_suite(tmp_path, True, "-m", "slow")[1]
    assert "1 passed" in run_suite(tmp_path, True, "test_inner.py::test_slow")[1]
