"""The demonstration: tomograms to a map through all five methods, in Scipion.

Runs the workflow template `tomogram_to_map` in a real Scipion project without a display, compares
every stage with the truth, and says at the end what came out and where the report is. Another
template runs with `template=half_maps_to_isotropic_map`, then without that comparison.

    python scripts/run_demo.py [FOLDER] [alias=value ...]     for example epochs=4
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROJECT = "cryodl_demo"
CHAIN = "tomogram_to_map"
# Protocols of the chain whose results are compared with the truth, by their place in the template.
STAGES = {"picks": 4, "classes": 7, "average": 8, "states": 10, "correction": 14}
FIGURES = {
    "picking_f1": "picking: F1",
    "class_purity": "sorting: purity of the classes",
    "pose_median_degrees": "averaging: median error of the poses in degrees",
    "resolution_angstrom": "averaging: resolution in Angstrom",
    "state_ari": "states: adjusted Rand index",
    "fsc_to_truth_before": "FSC with the true state, before the correction",
    "fsc_to_truth_after": "FSC with the true state, after the correction",
    "sphericity": "sphericity of the 3DFSC",
}


def main(arguments: list[str]) -> int:
    """Run the template and print the summary; the exit status is 0 when every step finished."""
    values = dict(word.split("=", 1) for word in arguments if "=" in word)
    folders = [word for word in arguments if "=" not in word]
    root = Path(folders[0] if folders else "demo_output").resolve()
    template = values.pop("template", CHAIN)
    started = time.monotonic()
    prepare_scipion(root / "scipion")
    say(f"A Scipion project is made in {show(root)}; this takes some minutes on two cores.")
    runs = run_template(template, values)
    if any(not run.isFinished() for run in runs):
        failed = next(run for run in runs if not run.isFinished())
        say(f"{failed.getObjLabel()}: {failed.getErrorMessage() or failed.getStatus()}")
        say(f"Its log is {show(Path(failed.getLogPaths()[0]).resolve())}")
        return 1
    if template == CHAIN:
        compare(
            dict(enumerate(runs, start=2)), root
        )  # the first of a template is its second object
    say(f"Scipion project: {show(Path(runs[-1].getProject().path).resolve())}")
    say(f"{(time.monotonic() - started) / 60:.1f} minutes in all")
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


def run_template(name: str, values: dict[str, str]) -> list[Any]:
    """Load the template into a new project and launch its protocols in order."""
    from pyworkflow import Config
    from pyworkflow.project import Manager

    domain = Config.getDomain()
    plugin = domain.getPlugins()["cryodl_plugin"]
    template = next(t for t in plugin._pluginInstance.getTemplates() if t.getObjId().endswith(name))
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


def compare(runs: dict[int, Any], root: Path) -> None:
    """Compare each stage with the truth, by the engine; print the numbers that matter."""
    folders: dict[str, Any] = {name: folder_of(runs[number]) for name, number in STAGES.items()}
    simulated = sorted(Path(runs[2]._getExtraPath()).resolve().glob("*/truth"))
    folders["truth"] = {
        f"sim_{number:02d}": str(path.parent) for number, path in enumerate(simulated, 1)
    }
    named, report = root / "folders.json", root / "report"
    named.write_text(json.dumps(folders, indent=1), encoding="utf-8")
    words = ["demo", "--folders", str(named), "--output", str(report), "--overwrite"]
    subprocess.run([sys.executable, "-m", "cryodl", *words], check=True, stdout=subprocess.DEVNULL)
    result = json.loads((report / "result.json").read_text(encoding="utf-8"))
    say("")
    for key, words in FIGURES.items():
        if key in result:
            say(f"  {words:52s} {result[key]:6.2f}")
    say("")
    say(f"Report: {show(report / 'report.html')}")


def folder_of(run: Any) -> str:
    """Return the folder in which the engine has run for a protocol."""
    return str(next(Path(run.getPath()).resolve().rglob("result.json")).parent)


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
