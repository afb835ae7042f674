"""The demonstration: half maps with preferred orientation to an isotropic map, in Scipion.

Runs the workflow template `half_maps_to_isotropic_map` in a real Scipion project without a display
and says at the end what came out and where the report is.

    python scripts/run_demo.py [FOLDER] [alias=value ...]     for example epochs=4
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

PROJECT = "cryodl_demo"
TEMPLATE = "half_maps_to_isotropic_map"
FIGURES = {
    "fsc_inside_low": "FSC with the truth inside the badly measured cone, low resolution",
    "fsc_inside_high": "the same, high resolution",
    "fsc_outside_low": "FSC with the truth outside the cone, low resolution",
    "fsc_outside_high": "the same, high resolution",
    "power_inside_low": "power inside the cone, share of the truth's, low resolution",
}


def main(arguments: list[str]) -> int:
    """Run the template and print the summary; the exit status is 0 when every step finished."""
    values = dict(word.split("=", 1) for word in arguments if "=" in word)
    folders = [word for word in arguments if "=" not in word]
    root = Path(folders[0] if folders else "demo_output").resolve()
    started = time.monotonic()
    prepare_scipion(root / "scipion")
    say(f"A Scipion project is made in {show(root)}; this takes some minutes on two cores.")
    runs = run_template(values)
    if any(not run.isFinished() for run in runs):
        failed = next(run for run in runs if not run.isFinished())
        say(f"{failed.getObjLabel()}: {failed.getErrorMessage() or failed.getStatus()}")
        say(f"Its log is {show(Path(failed.getLogPaths()[0]).resolve())}")
        return 1
    summarise(runs[-1], root, time.monotonic() - started)
    return 0


def prepare_scipion(home: Path) -> None:
    """Give Scipion a home of its own, before its modules are imported."""
    config = home / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "hosts.conf").write_text(
        "[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d %_(COMMAND)s\n",
        encoding="utf-8",
    )
    os.environ.update(
        SCIPION_HOME=str(home),
        SCIPION_USER_DATA=str(home / "data"),
        SCIPION_DOMAIN="pwem",
        SCIPION_NOTIFY="False",
        SCIPION_PYTHON=sys.executable,
        SCIPION_LOCAL_CONFIG=str(config / "scipion.conf"),
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        PYTHONWARNINGS="ignore",
    )
    os.environ.pop("PYTHONPATH", None)


def run_template(values: dict[str, str]) -> list[Any]:
    """Load the template into a new project and launch its protocols in order."""
    from pyworkflow import Config
    from pyworkflow.project import Manager

    domain = Config.getDomain()
    plugin = domain.getPlugins()["cryodl_plugin"]
    template = next(
        t for t in plugin._pluginInstance.getTemplates() if t.getObjId().endswith(TEMPLATE)
    )
    template.replaceEnvVariables()
    template.parseContent()
    for field in template.params.values():
        if field.getAlias() in values:
            field.setValue(values[field.getAlias()])
    manager = Manager()
    if manager.hasProject(PROJECT):
        manager.deleteProject(PROJECT)
    project = manager.createProject(PROJECT)
    os.chdir(project.path)
    filled = template.createTemplateFile()
    project.loadProtocols(filled)
    Path(filled).unlink()
    runs = sorted(project.getRuns(), key=lambda run: run.getObjId())
    for run in runs:
        say(f"{run.getObjLabel()} ...")
        project.launchProtocol(run, wait=True, force=True)
        run = project.getProtocol(run.getObjId(), fromRuns=True)
        if not run.isFinished():
            break
    return [project.getProtocol(run.getObjId(), fromRuns=True) for run in runs]


def summarise(correction: Any, root: Path, seconds: float) -> None:
    """Print the numbers that matter and put the report where people find it."""
    folder = next(Path(correction.getPath()).resolve().rglob("result.json")).parent
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    report = root / "report.html"
    shutil.copyfile(folder / result["report"], report)
    say("")
    for key, words in FIGURES.items():
        before, after = result["truth_before"][key], result["truth_after"][key]
        say(f"  {words:68s} {before:5.2f} -> {after:5.2f}")
    say("")
    say(f"Corrected half maps: {show(folder / result['corrected_half1'])}")
    say(
        f"Scipion project:     {show(Path(os.environ['SCIPION_USER_DATA']) / 'projects' / PROJECT)}"
    )
    say(f"Report:              {show(report)}   ({seconds / 60:.1f} minutes in all)")


def show(path: Path) -> str:
    """Return a path as short as it can be written from where the user stands."""
    start = Path(os.environ.get("PWD", "/"))
    return str(path.relative_to(start)) if path.is_relative_to(start) else str(path)


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
