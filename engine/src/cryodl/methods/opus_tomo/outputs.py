"""Files of a training: particles with poses and latents, latents by name, model, consensus."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import atomic_path
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.methods.opus_tomo.baseline import linear_components
from cryodl.methods.opus_tomo.density import save_model
from cryodl.methods.opus_tomo.latents import Latents
from cryodl.methods.opus_tomo.training import Training
from cryodl.methods.opus_tomo.whole_box import BoxOf, to_whole_box

_LINEAR = 8
LATENT_COLUMN = "cdlLatent"


def write_outputs(training: Training, run: RunFolder, latents: Latents) -> NDArray[np.float32]:
    """Write everything and return the linear baseline, (n, components)."""
    linear = linear_components(training.model, training.store, _LINEAR)
    store, config = training.store, training.config
    particles = store.particles
    for column in range(latents.scaled.shape[1]):
        particles = particles.with_column(
            f"{LATENT_COLUMN}{column + 1}", latents.scaled[:, column].astype(float)
        )
    write_particles(run.path("particles.star"), particles)
    run.add_file("star", "particles.star")
    _write_latents(training, run, latents, linear)
    sampling = training.sampling
    run.add_file("model", "model.safetensors")
    save_model(run.path("model.safetensors"), training.model, description_of(training))
    box = BoxOf(sampling.box_px, sampling.render_px, sampling.pixel_size_angstrom)
    consensus = to_whole_box(training.model.consensus.numpy(), sampling.crop_px, box)
    run.write_map(
        "consensus", "consensus.mrc", consensus, pixel_size_angstrom=sampling.pixel_size_angstrom
    )
    for suffix in (".mrc", ".png"):
        name = f"{config.tmp_prefix}{suffix}"
        if run.path(name).is_file():
            run.add_file(f"live_{suffix[1:]}", name)
    run.add_value("particles", len(store))
    run.add_value("spread", latents.spread)
    run.add_value("collapsed", latents.collapsed)
    return linear


def description_of(training: Training) -> dict[str, Any]:
    """Return what is saved with a model."""
    sampling = training.sampling
    return {
        "box_px": sampling.box_px,
        "render_px": sampling.render_px,
        "pixel_size_angstrom": sampling.pixel_size_angstrom,
        "bfactor": training.choices.bfactor,
        "sign": training.checked.sign,
        "epochs": training.choices.epochs,
    }


def _write_latents(
    training: Training, run: RunFolder, latents: Latents, linear: NDArray[np.float32]
) -> None:
    store = training.store
    trained = np.zeros(len(store), dtype=bool)
    trained[training.members] = True
    run.add_file("latents", "latents.npz")
    with atomic_path(run.path("latents.npz")) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            name=np.array(store.particles.names),
            tomogram=np.array(store.particles.tomograms),
            z_mu=latents.mean,
            z_logstd=latents.log_deviation,
            zd_mu=latents.pose_mean,
            zd_logstd=latents.pose_log_deviation,
            scaled=latents.scaled,
            misfit=latents.misfit,
            linear=linear,
            direction=store.views.astype(np.float32),
            trained_on=trained,
            epoch=np.array(training.choices.epochs),
        )
