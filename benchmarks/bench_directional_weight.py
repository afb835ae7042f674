"""Which directional weight is nearest to the truth: 3DFSC, RELION's own weights, or the smaller.

Takes an iteration of a RELION auto-refinement of simulated particles, run with
--external_reconstruct and --solvent_correct_fsc in the present folder, and compares the weights of
ISONET_ANISO with the squared correlation of its half maps with the true structure in the same
cones. Prints a row of a Markdown table for each: root mean square error and bias over all
frequencies, correlation over directions within a shell.

    python benchmarks/bench_directional_weight.py Refine3D/job005/run_it003 truth.mrc mask.mrc 12
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.transform import half_to_centred
from cryodl.core.io.mrc import read_volume
from cryodl.core.relion.call import STAR_SUFFIX, read_arrays, read_call
from cryodl.core.relion.reconstruct import Prior, prior_attenuation
from cryodl.methods.spisonet.fsc3d import compute_fsc3d

FIRST_SHELL = 3


def sampling(star: str) -> np.ndarray:
    """Return the share of signal that RELION's weights support, centred."""
    call = read_call(star)
    prior = Prior(call.tau2, call.tau2_fudge)
    half = prior_attenuation(
        read_arrays(call)[2],
        box_size_px=call.box_size_px,
        current_size_px=call.current_size_px,
        prior=prior,
    )
    return half_to_centred(half, call.box_size_px)


def main() -> None:
    """Print the table of one iteration."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("iteration", help="root and iteration, Refine3D/job005/run_it003")
    parser.add_argument("truth", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("limit", type=float, help="resolution limit in Angstrom")
    given = parser.parse_args()
    truth = read_volume(given.truth)
    mask, pixel, n = read_volume(given.mask).data, truth.pixel_size_angstrom, len(truth.data)
    roots = [f"{given.iteration}_half{half}_class001" for half in (1, 2)]
    halves = [read_volume(Path(f"{root}_unfil.mrc")).data for root in roots]

    def fsc3d(first: np.ndarray, second: np.ndarray, estimator: str) -> np.ndarray:
        limit = {"limit_resolution_angstrom": given.limit}
        result = compute_fsc3d(first, second, mask, pixel, estimator=estimator, **limit)
        return np.clip(result.volume, 0, 1)

    to_truth = [fsc3d(half, truth.data, "fsc") ** 2 for half in halves]
    expected = np.mean(to_truth, axis=0)
    cosine, ratio = (fsc3d(halves[0], halves[1], kind) for kind in ("mean-cosine", "fsc"))
    weights = np.mean([sampling(f"{root}{STAR_SUFFIX}") for root in roots], axis=0)
    shell, last = shell_index(n), int(n * pixel / given.limit)
    band = (shell >= FIRST_SHELL) & (shell <= last)
    for name, found in {
        "fsc (mean cosine)": cosine,
        "fsc (ratio)": ratio,
        "weight": weights,
        "min": np.minimum(ratio, weights),
    }.items():
        error = (found - expected)[band]
        directions = [
            np.corrcoef(found[shell == i], expected[shell == i])[0, 1]
            for i in range(FIRST_SHELL + 1, last + 1)
        ]
        rms = float(np.sqrt(np.mean(error**2)))
        print(
            f"| {given.iteration} | {name} | {rms:.3f} | {error.mean():+.3f} "
            f"| {np.nanmean(directions):.2f} |"
        )


if __name__ == "__main__":
    main()
