"""ChimeraX and napari, where they are installed; words about it where they are not."""

import os
import shlex
import shutil
import subprocess

import numpy as np

_NO_NAPARI = (
    "napari is not installed. Install it with *scipion3 installb napari* of scipion-em-tomo, or "
    "stay here: slices, points and masks need nothing else."
)
_NO_CHIMERA = (
    "ChimeraX is not installed. Install scipion-em-chimera, or stay here: slices, points and masks "
    "need nothing else."
)


def programs(folder):
    """Return the other programs: label -> callable with the model; files go to `folder`."""
    return {
        "ChimeraX": lambda model: openInChimera(model, folder),
        "napari": lambda model: openInNapari(model, folder),
    }


def openInChimera(model, folder):
    """Open tomogram and points as markers in ChimeraX; returns words where it cannot."""
    from pwem.viewers.viewer_chimera import Chimera, ChimeraView

    program = Chimera.getProgram()
    if not program or not os.path.exists(program):
        return _NO_CHIMERA
    if model.source is None:
        return model.problem
    files = [os.path.abspath(model.entry.fileName)]
    if len(model.points.shown(model.entry.tsId)):
        files.append(writeMarkers(model, os.path.join(folder, f"{model.entry.tsId}.cmm")))
    ChimeraView(files).show()
    return ""


def writeMarkers(model, path):
    """Write the shown points of this tomogram as markers in Angstrom; returns the full path."""
    sampling = model.points.sampling
    radius = model.points.boxSize * sampling / 2
    numbers = model.points.shown(model.entry.tsId)
    lines = ['<marker_set name="points">']
    for number, place in zip(numbers, model.points.xyz[numbers] * sampling):
        x, y, z = place
        lines.append(
            f'<marker id="{number + 1}" x="{x:.2f}" y="{y:.2f}" z="{z:.2f}" r="1" g="0.8" b="0.1" '
            f'radius="{radius:.2f}"/>'
        )
    _write(path, "\n".join([*lines, "</marker_set>"]) + "\n")
    return os.path.abspath(path)


def napariCommand():
    """Return the shell text that starts napari, or None where it is not installed."""
    found = shutil.which("napari")
    if found:
        return shlex.quote(found)
    import tomo
    from pwem import Config
    from tomo.constants import NAPARI_DEF_VER, NAPARI_ENV_ACTIVATION

    home = os.path.join(Config.EM_ROOT or "", f"napari-{NAPARI_DEF_VER}")
    if not os.path.isdir(home):
        return None
    activate = tomo.Plugin.getVar(NAPARI_ENV_ACTIVATION)
    return f"{tomo.Plugin.getCondaActivationCmd()} {activate} && napari"


def openInNapari(model, folder):
    """Open tomogram and points in napari; returns words where it cannot."""
    command = napariCommand()
    if command is None:
        return _NO_NAPARI
    if model.source is None:
        return model.problem
    files = [os.path.abspath(model.entry.fileName)]
    if len(model.points.shown(model.entry.tsId)):
        files.append(writeNapariPoints(model, os.path.join(folder, f"{model.entry.tsId}.csv")))
    names = " ".join(shlex.quote(name) for name in files)
    subprocess.Popen(["bash", "-c", f"{command} {names}"], start_new_session=True)
    return ""


def writeNapariPoints(model, path):
    """Write the shown points of this tomogram as a points layer (z, y, x); returns the path."""
    places = model.points.xyz[model.points.shown(model.entry.tsId)] * model.scale()
    rows = ["index,axis-0,axis-1,axis-2"]
    rows += [f"{i},{z:.2f},{y:.2f},{x:.2f}" for i, (x, y, z) in enumerate(np.asarray(places))]
    _write(path, "\n".join(rows) + "\n")
    return os.path.abspath(path)


def _write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
