"""Rules that hold for all tests of the repository, engine and plugin.

* Tests marked ``slow`` run only when asked for by a marker expression (``make test-slow``).
* Tests marked ``relion``, ``gui`` or ``gpu`` are skipped where the programs are not there.
* On continuous integration (``CI=true``) a ``relion`` or ``gui`` test, or a whole file, that is
  skipped counts as failed: otherwise a missing program would hide that nothing was tested.
"""

from __future__ import annotations

import os
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# By path, not by import: Scipion reads these variables as soon as anything of the plugin is loaded.
_SURROUNDINGS = Path(__file__).parent / "cryodl_plugin" / "tests" / "surroundings.py"
runpy.run_path(str(_SURROUNDINGS), run_name="__main__")

NEEDED_PROGRAMS = {
    "relion": ("relion_refine", "relion_image_handler", "relion_reconstruct"),
    "gui": ("Xvfb", "xdotool", "import"),
}
ON_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def pytest_configure(config: pytest.Config) -> None:
    """Leave the slow tests out unless a marker expression was given, or tests by name."""
    if not config.option.markexpr and not any("::" in argument for argument in config.args):
        config.option.markexpr = "not slow"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine has not got."""
    for item in items:
        for marker, programs in NEEDED_PROGRAMS.items():
            missing = [name for name in programs if shutil.which(name) is None]
            if item.get_closest_marker(marker) and missing:
                item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))
        if item.get_closest_marker("gpu") and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turn the skip of a test that continuous integration must run into a failure."""
    outcome: Any = yield
    report = outcome.get_result()
    expected_to_fail = hasattr(report, "wasxfail")
    if ON_CI and report.skipped and not expected_to_fail and _must_run(item):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped on continuous integration: {reason}"


def _must_run(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(marker) for marker in NEEDED_PROGRAMS)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Treat a file that skips itself as a whole in the same way."""
    outcome: Any = yield
    report = outcome.get_result()
    if ON_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: skipped on continuous integration"
