"""The stages of the demonstration from tomograms to a map, each one command of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cryodl.commands.demo_step import step
from cryodl.core.io.atomic import write_json

if TYPE_CHECKING:
    from cryodl.commands.demo import DemoConfig
    from cryodl.core.run.folder import RunFolder

Stage = tuple[str, Callable[[], Any]]  # a note, and what is to be done

SYMMETRY = "C7"  # of the ring that comes in two states
_SCENE = {
    "--structure": ["groel_ring_cis", "groel_ring_trans", "rubisco"],
    "--proportion": ["0.3", "0.3", "0.4"],
}
_LABELS = 20
_BOX_PX = 32
_DIAMETER_PX = "17"


@dataclass(frozen=True)
class Folders:
    """Where the results of a chain lie, from `cryodl demo` or from a Scipion project.

    Attributes
    ----------
    truth : dict of str to Path
        Folder of `simulate tomogram` of each tomogram, by the name that particles know it by.
    picks, classes, average, states, correction : Path
        Run folders of `cet-pick predict`, `autoencoder3d cluster`, `selfalign refine`, `opus-tomo
        analyze` and `spisonet correct`.
    """

    truth: dict[str, Path]
    picks: Path
    classes: Path
    average: Path
    states: Path
    correction: Path


def run_chain(config: DemoConfig, run: RunFolder) -> Folders:
    """Run all stages in folders of their own and return these folders."""
    stages = list(_stages(config, run))
    for number, (note, action) in enumerate(stages):
        run.progress(0.95 * number / len(stages), note)
        run.log(note)
        action()
    return Folders(
        {name: run.path(name) for name in _names(config)},
        *(run.path(name) for name in ("picks", "classes", "average", "states", "correction")),
    )


def _names(config: DemoConfig) -> list[str]:
    return [f"tomogram_{number}" for number in range(1, config.tomograms + 1)]


def _stages(config: DemoConfig, run: RunFolder) -> Iterator[Stage]:
    common = ["--devices", config.devices, "--seed", str(config.seed)]

    def command(words: str, *more: str, output: str) -> Callable[[], Any]:
        return lambda: step([*words.split(), *more, "--output", str(run.path(output)), *common])

    def at(*parts: str) -> str:
        return str(run.path("/".join(parts)))

    names = _names(config)
    for number, name in enumerate(names):
        yield f"simulating {name}", partial(_simulated, config, run, name, number)
    files = _repeated("--tomograms", [at(f"{name}.mrc") for name in names])
    yield "labelling twenty particles", partial(_label, config, run, names[0])
    train = ["--tomograms", at(f"{names[0]}.mrc"), "--coordinates", at("labels.csv")]
    train += ["--bbox", _DIAMETER_PX]
    yield "learning to pick", command("cet-pick train", *train, output="picker")
    yield "picking", command("cet-pick predict", *files, "--model", at("picker"), output="picks")
    boxes = ["--coordinates", at("picks", "coordinates.star"), "--box-size-px", str(_BOX_PX)]
    boxes += ["--contrast", "dark", "--tilt-min", "-60", "--tilt-max", "60", "--border", "fill"]
    yield "cutting boxes", command("particles extract", *files, *boxes, output="boxes")
    star = at("boxes", "particles.star")
    yield (
        "learning what there is",
        command("autoencoder3d train", star, "--preset", "tiny", output="autoencoder"),
    )
    yield (
        "sorting",
        command("autoencoder3d cluster", at("autoencoder"), "--clusters", "2", output="classes"),
    )
    yield from _stages_of_a_class(config, run, command, at)


def _stages_of_a_class(
    config: DemoConfig,
    run: RunFolder,
    command: Callable[..., Callable[[], Any]],
    at: Callable[..., str],
) -> Iterator[Stage]:
    """Yield what follows when the larger class is known: average, states, map."""
    yield "keeping the larger class", partial(_selected, run)
    star = at("class", "selected.star")
    yield "averaging", command("selfalign refine", star, "--iterations", "5", output="average")
    star = at("average", "particles.star")
    yield "learning states", command("opus-tomo train", star, "--preset", "demo", output="latents")
    yield (
        "finding states",
        command("opus-tomo analyze", at("latents"), "--clusters", "2", output="states"),
    )
    yield (
        "keeping one state",
        command("opus-tomo select", at("states"), "--clusters", "1", output="state"),
    )
    again = ["--mode", "refine", "--iterations", "2", "--reference", at("average", "average.mrc")]
    star = at("state", "particles.star")
    yield "averaging the state", command("selfalign refine", star, *again, output="map")
    halves = [at("map", "half1.mrc"), at("map", "half2.mrc"), "--mask", at("map", "mask.mrc")]
    yield "measuring directions", command("spisonet fsc3d", *halves, output="fsc3d")
    small = ["--width", "16", "--epochs", str(config.epochs), "--n-subvolume", "20"]
    aniso = ["--aniso-file", at("fsc3d", "fsc3d.mrc")]
    yield "correcting", command("spisonet correct", *halves, *aniso, *small, output="correction")


def _repeated(flag: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _simulated(config: DemoConfig, run: RunFolder, name: str, number: int) -> None:
    words = [word for flag, values in _SCENE.items() for word in _repeated(flag, values)]
    words += ["--pixel-size", "8", "--number", str(config.number), "--snr", str(config.snr)]
    words += ["--box-size-px", "224", "--thickness-px", "64", "--vesicles", "1", "--beads", "3"]
    words += ["--decoys", "10", "--phase-flip", "--seed", str(config.seed + number)]
    step(["simulate", "tomogram", *words, "--output", str(run.path(name))])
    link = run.path(f"{name}.mrc")  # particles are told apart by the name of their tomogram
    if not link.exists():
        link.symlink_to(Path(name) / "tomogram.mrc")


def _label(config: DemoConfig, run: RunFolder, name: str) -> None:
    """Label some particles of the first tomogram, as a person would."""
    from cryodl.core.io.particles.coordinates import read_coordinates, write_coordinates

    points = read_coordinates(run.path(f"{name}/truth/coordinates.txt")).xyz_px
    chosen = np.random.default_rng(config.seed).permutation(len(points))[:_LABELS]
    write_coordinates(run.path("labels.csv"), points[chosen])


def _selected(run: RunFolder) -> None:
    write_json(run.path("larger_class.json"), {"1": [0]})  # groups are in order of their size
    words = [str(run.path("classes")), "--classes", str(run.path("larger_class.json"))]
    step(["autoencoder3d", "select", *words, "--output", str(run.path("class"))])


def folders_of(path: Path) -> Folders:
    """Return the folders that a JSON file names: truth (by tomogram), and one for each stage.

    Raises
    ------
    InputError
        The file or one of the folders is not there.
    """
    from cryodl.errors import InputError

    if not path.is_file():
        raise InputError(f"--folders: {path} does not exist, expected a JSON file; check the name")
    named = json.loads(path.read_text(encoding="utf-8"))
    missing = sorted(set(Folders.__annotations__) - set(named))
    if missing:
        raise InputError(f"{path}: found no {missing[0]}, expected a folder for it; add it")
    truth = {name: Path(folder) for name, folder in named.pop("truth").items()}
    folders = Folders(truth, **{name: Path(named[name]) for name in missing or named})
    for folder in (*truth.values(), *(Path(value) for value in named.values())):
        if not (folder / "result.json").is_file():
            raise InputError(f"{path}: {folder} holds no result.json, expected a finished run")
    return folders
