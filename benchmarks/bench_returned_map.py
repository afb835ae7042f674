"""Measure how far from the truth the map is that relion_wrapper returns, by settings.

Takes iterations of a refinement that bench_misalignment.py made with the wrapper, corrects their
half maps again with other settings, and prints the squared error of half 1 over the power of the
true structure from shell 4 on, within the mask: of RELION's own regularised map, of the
unregularised one and of each correction; first all frequencies, then those within 45 degrees of
the axis of the preferred views. RELION's likelihood lives on this error, not on the FSC.

    python benchmarks/bench_returned_map.py FOLDER/seed1 RUN 1 2 4 --variants ANISO=fsc ANISO=min
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pose_scores import BADLY_SAMPLED_DEGREES
from preferred_particles import DataSet

from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.transform import forward_centred
from cryodl.core.io.mrc import read_volume
from cryodl.core.relion.call import STAR_SUFFIX, ReconstructionCall, read_arrays, read_call
from cryodl.core.relion.job import RefinementState, read_refinement
from cryodl.core.relion.program import regularised_map, unregularised_map
from cryodl.core.relion.reconstruct import Prior, prior_attenuation
from cryodl.methods.spisonet.relion.correction import HalfMap, correct_maps
from cryodl.methods.spisonet.relion.log import CallReport
from cryodl.methods.spisonet.relion.settings import RelionSettings
from cryodl.methods.spisonet.relion.task import HalfMapTask

FIRST_SHELL = 4
DEFAULTS = {
    "ISONET_START_HEALPIX": "0",
    "ISONET_START_RESOLUTION": "1000",
    "ISONET_METHOD": "classical",
    "ISONET_DEVICES": "cpu",
}


class _Elsewhere(HalfMapTask):
    """A task that leaves the folder of the refinement as it is."""

    scratch: Path

    @property
    def folder(self) -> Path:
        return self.scratch


def half_map(call: ReconstructionCall, state: RefinementState) -> HalfMap:
    """Return what a call has to work with."""
    sampling = prior_attenuation(
        read_arrays(call)[2],
        box_size_px=call.box_size_px,
        current_size_px=call.current_size_px,
        prior=Prior(call.tau2, call.tau2_fudge),
    )
    own = regularised_map(call, state)
    return HalfMap(unregularised_map(call, state), sampling, own)


def main() -> None:
    """Print a row of a Markdown table for each map."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("run", help="folder of the refinement within it")
    parser.add_argument("iterations", type=int, nargs="+")
    variants = ["ANISO=fsc", "ANISO=weight", "ANISO=min"]
    parser.add_argument("--variants", nargs="+", default=variants)
    given = parser.parse_args()
    os.chdir(given.folder)
    data = DataSet(**json.loads(Path("data.json").read_text(encoding="utf-8")))
    truth, mask = (read_volume(Path(f"{name}.mrc")).data for name in ("truth", "mask"))
    target = forward_centred(truth * mask)
    counted = shell_index(data.box_size_px) >= FIRST_SHELL
    poor = double_cone_region(data.box_size_px, data.cone_axis(), BADLY_SAMPLED_DEGREES)

    def show(iteration: int, name: str, volume: NDArray[np.float32]) -> None:
        square = np.abs(forward_centred(volume * mask) - target) ** 2
        power = np.abs(target) ** 2
        errors = [square[s].sum() / power[s].sum() for s in (counted, counted & poor)]
        print(f"| {iteration} | {name} | {errors[0]:.3f} | {errors[1]:.3f} |", flush=True)

    for iteration in given.iterations:
        root = f"{given.run}/run_it{iteration:03d}"
        calls = [read_call(f"{root}_half{half}_class001{STAR_SUFFIX}") for half in (1, 2)]
        state = read_refinement(calls[0])
        halves = {half: half_map(call, state) for half, call in enumerate(calls, 1)}
        show(iteration, "RELION", halves[1].own)
        show(iteration, "unregularised", halves[1].volume)
        for variant in given.variants:
            changes = (part.partition("=") for part in variant.split(","))
            settings = {**DEFAULTS, **{f"ISONET_{name}": value for name, _, value in changes}}
            pixel, report = data.pixel_size_angstrom, CallReport(iteration=iteration, half=1)
            chosen = RelionSettings.from_environment(settings)
            task = _Elsewhere(calls[0], state, chosen, pixel, report)
            task.decide()
            with tempfile.TemporaryDirectory() as scratch:
                task.scratch = Path(scratch)
                show(iteration, variant, correct_maps(task, halves)[1])


if __name__ == "__main__":
    main()
