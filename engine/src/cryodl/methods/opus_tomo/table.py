"""The table of an analysis: one row for each particle, on which a lasso is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import write_text
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.tilt_series import particle_tilts
from cryodl.methods.opus_tomo.trained import TrainedRun

_SHOWN = 8
_SCIPION_ID = "cdlParticleId"


def write_table(
    path: Path,
    training: TrainedRun,
    particles: ParticleSet,
    labels: NDArray[np.int64],
    projections: NDArray[np.float64],
    layout: NDArray[np.float32] | None,
) -> None:
    """Write ``latents.csv``; columns of which nothing is known are left out.

    Parameters
    ----------
    path : Path
        Of the table.
    training : TrainedRun
        In whose order the rows are.
    particles : ParticleSet
        The same particles in any order.
    labels : (n,)
        Cluster of each.
    projections : (n, d)
        Principal components.
    layout : (n, 2), optional
        UMAP.
    """
    latents = training.latents
    columns: dict[str, NDArray] = {"cluster": labels}
    shown = min(_SHOWN, projections.shape[1])
    columns.update({f"pc{i + 1}": projections[:, i] for i in range(shown)})
    if layout is not None:
        columns.update(umap1=layout[:, 0], umap2=layout[:, 1])
    columns.update({f"linear{i + 1}": latents["linear"][:, i] for i in range(2)})
    columns["beam_angle"] = np.degrees(np.arccos(np.clip(latents["direction"][:, 2], -1, 1)))
    columns["misfit"] = latents["misfit"]
    row = {name: i for i, name in enumerate(particles.names)}
    order = np.array([row[name] for name in training.names])
    columns.update({name: values[order] for name, values in known_of(particles).items()})
    lines = [",".join(["name", "tomogram", *columns])]
    for i, name in enumerate(training.names):
        numbers = ",".join(f"{column[i]:.6g}" for column in columns.values())
        lines.append(f"{name},{latents['tomogram'][i]},{numbers}")
    write_text(path, "\n".join(lines) + "\n")


def known_of(particles: ParticleSet) -> dict[str, NDArray]:
    """Return what a file says of each particle: ``class``, ``defocus`` (A), ``id`` in Scipion."""
    found: dict[str, NDArray] = {}
    if len(np.unique(particles.classes)) > 1:
        found["class"] = particles.classes
    defocus = _defocus(particles)
    if np.isfinite(defocus).all():
        found["defocus"] = defocus
    table = particles.blocks[particles.particle_block] if particles.blocks else {}
    if _SCIPION_ID in table:
        found["id"] = np.asarray(table[_SCIPION_ID], dtype=np.int64)
    return found


def _defocus(particles: ParticleSet) -> NDArray[np.float64]:
    """Return the mean defocus of each particle's tilts, NaN where it is not known."""
    found = np.full(len(particles), np.nan)
    if not particles.tilts and not any(p.suffix == ".star" for p in particles.ctf_paths[:1]):
        return found
    for index in range(len(particles)):
        tilts = particle_tilts(particles, index)
        if tilts is not None:
            found[index] = np.mean(tilts.defocus_u_angstrom)
    return found
