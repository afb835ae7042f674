"""The work of ``cryodl autoencoder3d select``: groups chosen by eye become classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import write_json
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.config import SelectConfig
from cryodl.methods.autoencoder3d.trained import check_run, read_json

STAR, CLASSES = "selected.star", "classes.json"


def run_select(config: SelectConfig, run: RunFolder) -> None:
    """Write the particles of the chosen groups with their class numbers.

    Raises
    ------
    InputError
        Not a finished clustering; classes that are not there, overlap or are 0.
    """
    result = check_run(config.run, "autoencoder3d cluster")
    classes = read_classes(config.classes, int(result["clusters"]))
    with np.load(config.run / result["groups"]) as stored:
        labels = stored["labels"]
    numbers = class_numbers(labels, classes)
    chosen = np.flatnonzero(numbers)
    if len(chosen) == 0:
        raise InputError(
            f"{config.classes}: found groups without any particle, expected some; choose others"
        )
    particles = read_particles(config.run / result["star"], require_images=False)
    kept = particles.with_classes(numbers).subset(chosen)
    run.add_file("star", STAR)
    write_particles(run.path(STAR), kept)
    run.add_file("classes", CLASSES)
    write_json(run.path(CLASSES), {str(number): groups for number, groups in classes.items()})
    run.add_value("clustering", str(config.run.absolute()))
    run.add_value("training", result["training"])
    counts = {str(number): int((numbers == number).sum()) for number in classes}
    run.add_value("counts", counts)
    run.log(f"{len(chosen)} of {len(labels)} particles kept")
    run.report.fact("particles kept", f"{len(chosen)} of {len(labels)}")
    run.report.table(["class", "particles"], [[name, count] for name, count in counts.items()])


def read_classes(path: Path, groups: int) -> dict[int, list[int]]:
    """Read which groups make which class.

    Raises
    ------
    InputError
        Not numbers, class 0, groups that do not exist or that two classes share.
    """
    found: dict[int, list[int]] = {}
    for name, chosen in read_json(path).items():
        whole = isinstance(chosen, list) and all(type(group) is int for group in chosen)
        if not name.isdigit() or int(name) == 0 or not whole or not chosen:
            raise InputError(
                f"{path}: found {name!r}: {chosen!r}, expected a class number from 1 and a list of "
                'groups, such as {"1": [0, 4]}; class 0 is background'
            )
        found[int(name)] = chosen
    every = [group for chosen in found.values() for group in chosen]
    bad = next((group for group in every if not 0 <= group < groups), None)
    if not found or bad is not None:
        raise InputError(
            f"{path}: found group {bad}, expected numbers from 0 to {groups - 1}; look at the "
            "figures of the clustering"
        )
    twice = next((group for group in every if every.count(group) > 1), None)
    if twice is not None:
        raise InputError(
            f"{path}: found group {twice} twice, expected each group in one class; remove one"
        )
    return dict(sorted(found.items()))


def class_numbers(labels: NDArray[np.int64], classes: dict[int, list[int]]) -> NDArray[np.int64]:
    """Return the class of each particle, 0 where its group was not chosen."""
    numbers = np.zeros(len(labels), dtype=np.int64)
    for number, groups in classes.items():
        numbers[np.isin(labels, groups)] = number
    return numbers
