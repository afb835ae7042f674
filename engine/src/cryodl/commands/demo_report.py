"""Every stage of the demonstration beside the truth: figures, tables and a picture of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryodl.commands.demo_chain import SYMMETRY, Folders
from cryodl.commands.demo_truth import Matched, Truth, match, read_truth
from cryodl.core.evaluation.matching import PickingScore
from cryodl.core.evaluation.partitions import adjusted_rand_index, contingency
from cryodl.core.evaluation.poses import Poses, in_frame_of
from cryodl.core.geometry.rotations import angular_distance_degrees, rotate_volume
from cryodl.core.io.mrc import read_volume
from cryodl.core.run.figures import central_slices, new_figure
from cryodl.core.volumes.boxes import crop_back, pad_to_cube

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cryodl.core.run.folder import RunFolder

Frame = tuple[NDArray[np.float64], NDArray[np.float64]]
_STATES = (1, 2)  # class numbers of the structure that comes in two states
_MASK_ABOVE = 0.05  # of the highest density


def report_chain(folders: Folders, run: RunFolder) -> None:
    """Compare each stage with the truth, into results and report of a run.

    Raises
    ------
    InputError
        The folders are not those of one chain.
    """
    truth = read_truth(folders.truth)
    run.report.text(
        "Simulated tomograms went through all five methods. Each stage is compared with what is "
        "known of them; with data of your own nobody can tell you these numbers."
    )
    _picks(folders, truth, run)
    _classes(folders, truth, run)
    frame = _average(folders, truth, run)
    _states(folders, truth, run)
    _correction(folders, truth, run, frame)


def _result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def _particles(folder: Path) -> Path:
    return folder / str(_result(folder)["star"])


def _say(run: RunFolder, name: str, value: float, label: str, text: str) -> None:
    run.add_value(name, round(float(value), 4))
    run.report.fact(label, text)
    run.log(f"{label}: {text}")


def _picks(folders: Folders, truth: Truth, run: RunFolder) -> None:
    matched = match(_particles(folders.picks), truth)
    found, total = len(matched.rows), len(truth.tomograms)
    score = PickingScore(found, total - found, len(matched.particles) - found, float("nan"))
    _say(run, "picking_f1", score.f1, "picking (F1)", f"{score.f1:.2f}")
    run.report.heading("Picking (cet_pick)")
    run.report.text(
        f"From twenty labels: {found} of {total} particles found, {score.extra} picks are none."
    )
    run.report.figure(
        _picture_of_picks(folders, truth, matched),
        "Slices about the middle of the first tomogram. Green: found; red: missed; yellow: a pick "
        "that is no particle.",
    )


def _picture_of_picks(folders: Folders, truth: Truth, matched: Matched) -> Figure:
    name, folder = next(iter(folders.truth.items()))
    volume = read_volume(folder / "tomogram.mrc")
    middle = volume.data.shape[0] // 2
    figure = new_figure(1, 1, 6.0, 6.0)
    axis = figure.axes[0]
    plane = volume.data[middle - 4 : middle + 4].mean(axis=0)
    low, high = np.percentile(plane, (0.5, 99.5))
    axis.imshow(plane, cmap="gray", vmin=low, vmax=high, origin="lower")
    here = truth.tomograms == name
    places = truth.coordinates_angstrom / volume.pixel_size_angstrom
    hit = np.zeros(len(here), dtype=bool)
    hit[matched.truths] = True
    particles = matched.particles
    wrong = np.array(particles.tomograms) == name
    wrong[matched.rows] = False
    groups = (
        (places[here & hit], "tab:green"),
        (places[here & ~hit], "tab:red"),
        (particles.coordinates_px[wrong], "gold"),
    )
    for points, colour in groups:
        near = points[np.abs(points[:, 2] - middle) < 8]
        axis.scatter(near[:, 0], near[:, 1], s=220, facecolors="none", edgecolors=colour)
    axis.set_xlabel("x (px)")
    axis.set_ylabel("y (px)")
    return figure


def _classes(folders: Folders, truth: Truth, run: RunFolder) -> None:
    matched = match(_particles(folders.classes), truth)
    structures = np.where(np.isin(truth.classes[matched.truths], _STATES), 1, 2)
    found = matched.particles.classes[matched.rows]
    table = contingency(found, structures)
    purity = table.max(axis=1).sum() / table.sum()
    _say(run, "class_purity", purity, "purity of classes", f"{purity:.1%}")
    run.report.heading("Sorting (Autoencoder3D)")
    rows = [[f"class {number}", *map(int, row)] for number, row in enumerate(table, 1)]
    run.report.table(["", "GroEL rings", "Rubisco"], rows)
    averages = [folders.classes / name for name in _result(folders.classes)["averages"]]
    slices = {f"class {i}": read_volume(path).data for i, path in enumerate(averages, 1)}
    run.report.figure(central_slices(slices), "Averages of the classes, central slices.")


def _posed(path: Path, truth: Truth) -> tuple[Poses, Poses, Frame]:
    """Return found and true poses in one frame, and where the found map lies in it."""
    matched = match(path, truth)
    ring = np.isin(truth.classes[matched.truths], _STATES)
    matched = Matched(matched.particles, matched.rows[ring], matched.truths[ring])
    found, true = matched.poses(), truth.poses.subset(matched.truths)
    framed = in_frame_of(found, true, SYMMETRY)
    # A_true = A_found g, and s_true = s_found + A_true d, for all particles.
    turn = found.rotations[0].T @ framed.rotations[0]
    moved = framed.rotations[0].T @ (framed.shifts_px[0] - found.shifts_px[0])
    return framed, true, (turn, moved)


def _average(folders: Folders, truth: Truth, run: RunFolder) -> Frame:
    """Report on poses and average; return where the average lies in the frame of the truth."""
    framed, true, (turn, moved) = _posed(_particles(folders.average), truth)
    angles = angular_distance_degrees(framed.rotations, true.rotations, SYMMETRY)
    median = float(np.median(angles))
    _say(run, "pose_median_degrees", median, "pose error", f"{median:.1f}°")
    result = _result(folders.average)
    own = float(result["resolution"])
    _say(run, "resolution_angstrom", own, "resolution of the average", f"{own:.1f} Å")
    run.report.heading("Averaging (SelfAlign)")
    average = read_volume(folders.average / result["average"]).data
    placed = rotate_volume(average, turn.T, translation_px=moved, order=3)
    expected = np.mean([truth.references[number - 1] for number in _STATES], axis=0)
    run.report.text(
        f"{len(angles)} particles, half of them within {median:.1f}° of their "
        f"true pose, 95 % within {np.quantile(angles, 0.95):.1f}°."
    )
    run.report.figure(
        central_slices({"average, turned as the truth": placed, "mean of both states": expected}),
        "The average and what it should be.",
    )
    return turn, moved


def _states(folders: Folders, truth: Truth, run: RunFolder) -> None:
    matched = match(_particles(folders.states), truth)
    true = truth.classes[matched.truths]
    ring = np.isin(true, _STATES)
    found = matched.particles.classes[matched.rows]
    agreement = adjusted_rand_index(found[ring], true[ring])
    _say(run, "state_ari", agreement, "states (adjusted Rand index)", f"{agreement:.2f}")
    run.report.heading("States (OPUS-TOMO)")
    columns = (folders.states / str(_result(folders.states)["latents"])).read_text("utf-8")
    head, *lines = columns.splitlines()
    places = [head.split(",").index(name) for name in ("name", "pc1", "pc2")]
    cells = {line.split(",")[places[0]]: line.split(",") for line in lines}
    figure = new_figure(1, 1, 5.0, 4.0)
    axis = figure.axes[0]
    for state, label in zip(_STATES, ("cis ring", "trans ring"), strict=True):
        names = [matched.particles.names[row] for row in matched.rows[true == state]]
        rows = [cells[name] for name in names if name in cells]
        points = np.array([[float(row[k]) for k in places[1:]] for row in rows]).reshape(-1, 2)
        axis.scatter(points[:, 0], points[:, 1], s=10, label=label)
    axis.set_xlabel("first principal component of the latents")
    axis.set_ylabel("second")
    axis.legend(frameon=False)
    run.report.figure(figure, "Latents, coloured by the true state, which the network never saw.")


def _correction(folders: Folders, truth: Truth, run: RunFolder, frame: Frame) -> None:
    from cryodl.core.fourier.fsc import fourier_shell_correlation, resolution_at

    result = _result(folders.correction)
    inputs = json.loads((folders.correction / "config.json").read_text(encoding="utf-8"))
    halves = {
        "before": [Path(inputs["parameters"][name]) for name in ("half1", "half2")],
        "after": [folders.correction / result[f"corrected_half{k}"] for k in (1, 2)],
    }
    # The state was averaged once more, by which its map may have turned.
    source = halves["before"][0].parent
    if (source / "result.json").is_file() and "star" in _result(source):
        frame = _posed(_particles(source), truth)[2]
    turn, moved = frame
    run.report.heading("Isotropic map (spIsoNet)")
    slices, rows = {}, []
    for name, paths in halves.items():
        volume = np.mean([read_volume(path).data for path in paths], axis=0)
        size = volume.shape[0]
        slices[name] = rotate_volume(volume, turn.T, translation_px=moved, order=3)
        best: tuple[float, NDArray[np.float64]] = (-1.0, np.zeros(1))
        for state in _STATES:
            reference = _boxed(truth.references[state - 1], size)
            mask = reference > _MASK_ABOVE * reference.max()
            curve = fourier_shell_correlation(slices[name] * mask, reference)
            mean = float(curve[1 : size // 3].mean())
            best = max(best, (mean, curve), key=lambda pair: pair[0])
        reached = resolution_at(best[1], 0.5, size, truth.pixel_size_angstrom)
        rows.append([name, best[0], reached])
        run.add_value(f"fsc_to_truth_{name}", round(best[0], 4))
        run.add_value(f"truth_resolution_{name}", round(reached, 2))
    _say_correction(run, rows)
    measured = Path(inputs["parameters"]["aniso_file"] or "").parent / "result.json"
    if measured.is_file():
        sphericity = float(_result(measured.parent)["sphericity"])
        _say(run, "sphericity", sphericity, "sphericity before correction", f"{sphericity:.2f}")
    run.report.figure(central_slices(slices), "The map of one state before and after correction.")


def _boxed(volume: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    whole = pad_to_cube(volume, max(size, len(volume)), 0.0)
    boxed: NDArray[np.float32] = crop_back(whole, (size, size, size))
    return boxed


def _say_correction(run: RunFolder, rows: list[list[Any]]) -> None:
    run.report.fact("FSC with the truth, corrected", f"{rows[0][1]:.2f} → {rows[1][1]:.2f}")
    run.log(f"FSC with the truth: {rows[0][1]:.3f} before, {rows[1][1]:.3f} after the correction")
    run.report.table(["map", "mean FSC with the true state", "resolution (FSC 0.5) in Å"], rows)
