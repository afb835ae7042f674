"""Named sub-units that move as rigid bodies, each by what a small head makes of the latent.

After the training the density of a particle is put together anew: what is outside the sub-units
stays, each sub-unit is cut out by its soft mask, turned about its centre and shifted, and added.
The density is learned along with the motions, for the average has blurred what moves.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryodl.core.io.atomic import write_text
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.seeds import numpy_generator
from cryodl.errors import InputError
from cryodl.methods.opus_tomo.clusters import along_component
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import DensityModel
from cryodl.methods.opus_tomo.figures import scatter
from cryodl.methods.opus_tomo.inputs import read_mask, working_mask
from cryodl.methods.opus_tomo.latents import Latents
from cryodl.methods.opus_tomo.losses import misfit
from cryodl.methods.opus_tomo.motions import moved, rotation_matrices
from cryodl.methods.opus_tomo.training import Training
from cryodl.methods.opus_tomo.whole_box import BoxOf, to_whole_box

_HIDDEN = 32
_UNIT_RADIANS, _UNIT_PX = 0.2, 1.0  # of the numbers that the head gives
_EXPECTED_RADIANS, _EXPECTED_PX = 0.35, 3.0
_STEPS, _BATCH = 400, 8
_HEAD_RATE, _DENSITY_RATE = 5e-3, 5e-3  # the latter in deviations of the consensus
_SERIES = 7
_LEAST_VOXELS = 8


class BodyDensity(nn.Module):
    """Densities of latents (b, d) in which some parts are moved.

    Parameters
    ----------
    consensus : (c, c, c)
        Where the density starts from.
    masks : (m, c, c, c)
        Of the sub-units, 0 to 1.
    dimensions : int
        d.
    """

    def __init__(self, consensus: Tensor, masks: Tensor, dimensions: int) -> None:
        super().__init__()
        self.density = nn.Parameter(consensus.clone())
        # Where sub-units overlap each gets its share.
        self.register_buffer("masks", masks / masks.sum(dim=0).clamp(min=1.0))
        self.register_buffer("centres", torch.stack([_centre(mask) for mask in masks]))
        self.hidden = nn.Sequential(nn.Linear(dimensions, _HIDDEN), nn.Tanh())
        self.out = nn.Linear(_HIDDEN, 6 * len(masks))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    masks: Tensor
    centres: Tensor

    def motions(self, latents: Tensor) -> Tensor:
        """Return rotation vectors in radians and shifts in working voxels, (b, m, 6)."""
        found = self.out(self.hidden(latents)).reshape(len(latents), -1, 6)
        return torch.cat([_UNIT_RADIANS * found[..., :3], _UNIT_PX * found[..., 3:]], dim=-1)

    def moved(self, motions: Tensor) -> Tensor:
        """Return densities (b, c, c, c) whose sub-units were moved by (b, m, 6)."""
        found = self.density * (1 - self.masks.sum(dim=0))
        for number, (mask, centre) in enumerate(zip(self.masks, self.centres, strict=True)):
            vectors, shifts = motions[:, number, :3], motions[:, number, 3:]
            # About its centre x goes to C (x - m) + m + t.
            about = shifts + centre - rotation_matrices(vectors) @ centre
            part = (self.density * mask).expand(len(motions), *mask.shape)
            found = found + moved(part, vectors, about)
        return found


def _centre(mask: Tensor) -> Tensor:
    """Return the centre of mass (x, y, z) from the centre voxel."""
    edge = mask.shape[-1]
    axis = torch.arange(edge, dtype=mask.dtype) - edge // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([(mask * a).sum() for a in (x, y, z)]) / mask.sum()


@dataclass(frozen=True)
class BodyMotions:
    """How the sub-units of each particle lie.

    Attributes
    ----------
    vectors : (n, m, 3)
        Rotation vectors in radians, from the mean over the particles.
    shifts_px : (n, m, 3)
        In working voxels, likewise.
    mean : (m, 6)
        What was taken off.
    density : BodyDensity
        That makes volumes of motions.
    """

    vectors: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    mean: NDArray[np.float64]
    density: BodyDensity

    def angles_degrees(self) -> NDArray[np.float64]:
        """Return the turn of each sub-unit about the axis it mostly turns about, (n, m)."""
        found = []
        for number in range(self.vectors.shape[1]):
            vectors = self.vectors[:, number]
            axis = np.linalg.svd(vectors, full_matrices=False)[2][0]
            found.append(np.degrees(vectors @ axis) * np.sign(axis[np.abs(axis).argmax()]))
        return np.stack(found, axis=1)


def fit_bodies(
    model: DensityModel,
    store: ParticleStore,
    latents: NDArray[np.floating],
    masks: NDArray[np.float32],
    seed: int = 0,
    device: str = "cpu",
    *,
    steps: int = _STEPS,
    progress: Callable[[float], None] | None = None,
) -> BodyMotions:
    """Learn rigid motions of sub-units from latents (n, d), in their scale.

    Parameters
    ----------
    model, store
        For consensus and noise, and all particles.
    latents : (n, d)
        The largest variation first; all are divided by its deviation.
    masks : (m, c, c, c)
        Of the sub-units, on the working grid.
    seed : int
        Of the head and of the order of the particles.
    device : str
        Of torch.
    steps : int
        Of eight particles each.
    progress : callable, optional
        Told the fraction that is done.
    """
    tell = progress or (lambda fraction: None)
    model.to(device).eval()
    scale = max(float(latents[:, 0].std()), 1e-12)
    known = torch.as_tensor(latents / scale, dtype=torch.float32, device=device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bodies = BodyDensity(model.consensus.cpu(), torch.as_tensor(masks), known.shape[1])
    bodies.to(device)
    rate = _DENSITY_RATE * float(model.density_scale)
    others = [p for name, p in bodies.named_parameters() if name != "density"]
    optimiser = torch.optim.Adam(
        [{"params": others, "lr": _HEAD_RATE}, {"params": [bodies.density], "lr": rate}]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator, order = numpy_generator(seed, 0), np.zeros(0, np.intp)
    expected = torch.tensor([_EXPECTED_RADIANS] * 3 + [_EXPECTED_PX] * 3, device=device)
    for number in range(steps):
        if len(order) < min(_BATCH, len(store)):
            order = generator.permutation(len(store))
        chosen, order = np.sort(order[:_BATCH]), order[_BATCH:]
        batch = {k: v.to(device) for k, v in store.stacked(chosen).items()}
        motions = bodies.motions(known[chosen])
        seen = model.seen(bodies.moved(motions) * model.mask)
        found, _ = misfit(seen, *model.whitened(batch["data"], batch["weight"]))
        loss = found.mean() + ((motions / expected) ** 2).sum(dim=(1, 2)).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        tell((number + 1) / steps)
    model.to("cpu")
    bodies.to("cpu").eval().requires_grad_(False)
    found_motions = bodies.motions(known.cpu()).double().numpy()
    mean = found_motions.mean(axis=0)
    rest = found_motions - mean
    return BodyMotions(rest[..., :3], rest[..., 3:], mean, bodies)


def body_masks(training: Training) -> NDArray[np.float32]:
    """Return the masks of the sub-units on the working grid, (m, c, c, c).

    Raises
    ------
    InputError
        A mask of another box, or with nothing inside the solvent mask.
    """
    masks = []
    for path in training.config.bodies or []:
        masks.append(working_mask(read_mask(path, training.checked), training.sampling))
        if (masks[-1] * training.model.mask.numpy() > 0.5).sum() < _LEAST_VOXELS:
            raise InputError(
                f"{path}: found no sub-unit within the solvent mask, expected a mask of a part of "
                "the particle; make it in the box of the average"
            )
    return np.stack(masks) if masks else np.zeros((0, *training.model.mask.shape), np.float32)


def move_bodies(training: Training, run: RunFolder, latents: Latents) -> None:
    """Learn the motions of the sub-units that were named, and write and report them."""
    masks = body_masks(training)
    if not len(masks):
        return
    found = fit_bodies(
        training.model,
        training.store,
        latents.scaled,
        masks,
        training.config.seed,
        training.device,
        steps=_STEPS,
        progress=lambda done: run.progress(0.92 + 0.07 * done, "moving sub-units"),
    )
    _write_table(training, run, found)
    _write_series(training, run, found)
    _report(run, found, latents, [path.stem for path in training.config.bodies or []])


def _write_table(training: Training, run: RunFolder, found: BodyMotions) -> None:
    pixel = training.sampling.working_pixel_angstrom
    heads = ["name"]
    columns: list[NDArray] = []
    for number, angles in enumerate(found.angles_degrees().T):
        own = f"body{number + 1}"
        heads += [f"{own}_angle", *(f"{own}_turn_{a}" for a in "xyz")]
        heads += [f"{own}_shift_{a}" for a in "xyz"]
        turns = np.degrees(found.vectors[:, number]).T
        columns += [angles, *turns, *(found.shifts_px[:, number] * pixel).T]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for name, values in zip(training.store.particles.names, np.stack(columns, axis=1), strict=True):
        writer.writerow([name, *(f"{value:.4f}" for value in values)])
    write_text(run.path("bodies.csv"), text.getvalue())
    run.add_file("bodies", "bodies.csv")


def _write_series(training: Training, run: RunFolder, found: BodyMotions) -> None:
    """Write densities along what varies most among all motions."""
    sampling = training.sampling
    box = BoxOf(sampling.box_px, sampling.render_px, sampling.pixel_size_angstrom)
    units = np.repeat([_UNIT_RADIANS, _UNIT_PX], 3)
    motions = np.concatenate([found.vectors, found.shifts_px], axis=2) / units
    flat = motions.reshape(len(motions), -1)
    direction = np.linalg.svd(flat, full_matrices=False)[2][0]
    names = []
    for number, place in enumerate(along_component(flat @ direction, _SERIES), start=1):
        motion = (place * direction).reshape(found.mean.shape) * units + found.mean
        with torch.no_grad():
            density = found.density.moved(torch.as_tensor(motion[None], dtype=torch.float32))[0]
        names.append(f"bodies_{number:02d}.mrc")
        volume = to_whole_box((density * training.model.mask).numpy(), sampling.crop_px, box)
        run.write_map(
            f"bodies_{number}", names[-1], volume, pixel_size_angstrom=box.pixel_size_angstrom
        )
    run.add_value("bodies_series", names)


def _report(run: RunFolder, found: BodyMotions, latents: Latents, names: list[str]) -> None:
    angles = found.angles_degrees()
    rows: list[list[str | float]] = []
    for number, name in enumerate(names):
        low, high = np.percentile(angles[:, number], (5, 95))
        moves = np.linalg.norm(found.shifts_px[:, number], axis=1)
        rows.append([name, float(low), float(high), float(np.median(moves))])
    report = run.report
    report.heading("Motions of sub-units")
    report.table(["sub-unit", "from, degrees", "to, degrees", "shift, median, px"], rows)
    first = np.column_stack([latents.scaled[:, 0], angles[:, 0]])
    report.figure(
        scatter(
            first, {name: angles[:, k] for k, name in enumerate(names)}, ("latent 1", names[0])
        ),
        "Turn of the first sub-unit about its main axis, in degrees, by the first latent; colours "
        "are the turns of each sub-unit.",
    )
    report.distrust(
        "Sub-units move as rigid bodies because they were told to. Compare with the densities "
        "that the networks decode, and with averages of particles of like angles."
    )
    run.add_value("bodies_range_degrees", [float(row[2]) - float(row[1]) for row in rows])
