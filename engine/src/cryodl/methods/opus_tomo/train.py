"""The work of ``cryodl opus-tomo train``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices
from cryodl.core.training.launch import process_count
from cryodl.core.training.loop import FitResult, fit
from cryodl.core.training.seeds import numpy_generator
from cryodl.core.training.settings import TrainingSettings
from cryodl.errors import InputError
from cryodl.methods.opus_tomo.bodies import body_masks, move_bodies
from cryodl.methods.opus_tomo.canonical import Sampling
from cryodl.methods.opus_tomo.config import TrainConfig
from cryodl.methods.opus_tomo.consensus import make_scene
from cryodl.methods.opus_tomo.correcting import correct, correct_by_network
from cryodl.methods.opus_tomo.data import ParticleSource, ParticleStore, Plan
from cryodl.methods.opus_tomo.density import DensityModel
from cryodl.methods.opus_tomo.inputs import (
    choose_sampling,
    open_particles,
    read_mask,
    working_mask,
)
from cryodl.methods.opus_tomo.latents import Latents, encode_all
from cryodl.methods.opus_tomo.model import build_network, parameter_count
from cryodl.methods.opus_tomo.monitor import Monitor
from cryodl.methods.opus_tomo.outputs import description_of, write_outputs
from cryodl.methods.opus_tomo.presets import Choices, choose, memory_gb, render_fraction
from cryodl.methods.opus_tomo.step import LatentStep, StepSettings
from cryodl.methods.opus_tomo.train_report import report_training
from cryodl.methods.opus_tomo.training import Training

_BEFORE = 0.2  # of the progress, for averages and poses


def run_train(config: TrainConfig, run: RunFolder) -> None:
    """Train, encode all particles and write latents, poses and model.

    Raises
    ------
    InputError, ConfigError
        Particles or settings that cannot be right.
    TrainingError
        The loss is not finite.
    """
    training = _begin(config, run)
    local = config.estpose and config.pose_method == "local"
    if local:
        correct(training, run, _set_scene)
    step = _fitted(training, run)
    _leave_out_nothing(training, step)
    if config.estpose and not local:
        correct_by_network(training, run, _encoded(training, run, 0))
        _set_scene(training, run, 0.85)
    latents = _encoded(training, run, training.choices.refine_steps)
    run.progress(0.92, "writing results")
    linear = write_outputs(training, run, latents)
    report_training(training, run, latents, linear)
    move_bodies(training, run, latents)


def _begin(config: TrainConfig, run: RunFolder) -> Training:
    choices = choose(config)
    checked = open_particles(config, run.log)
    mask = None if config.mask is None else read_mask(config.mask, checked)
    fraction = render_fraction(choices, checked.particles.box_size_px)
    sampling = choose_sampling(checked, fraction, mask)
    device = choose_devices(config.devices).torch_device()
    network = build_network(choices.size, config.seed)
    _say_sizes(config, choices, sampling, parameter_count(network), run)
    store = ParticleStore(
        checked.particles, checked.settings, sampling, checked.sign, config.cache_gb, str(device)
    )
    members, held = split_particles(config, store)
    model = DensityModel(network, sampling.crop_px, choices.residual)
    working = None if mask is None else working_mask(mask, sampling)
    training = Training(
        config, choices, checked, sampling, store, model, members, held, working, str(device)
    )
    _set_scene(training, run, 0.0)
    body_masks(training)  # what is wrong with them is told before a training of hours
    return training


def _say_sizes(
    config: TrainConfig, choices: Choices, sampling: Sampling, parameters: int, run: RunFolder
) -> None:
    turned = int(config.pose_hypotheses) + int(config.estpose and config.pose_method == "network")
    needed = memory_gb(choices.size, parameters, sampling.crop_px, choices.batch_size, turned)
    run.log(
        f"{config.preset}: {parameters:,} parameters; particles of {sampling.box_px} px worked "
        f"with at {sampling.crop_px} px of {sampling.working_pixel_angstrom:.3g} A; "
        f"about {needed:.2g} GB for a step of {choices.batch_size} particles"
    )
    run.add_value("parameters", parameters)
    run.add_value("memory_gb", needed)


def split_particles(
    config: TrainConfig, store: ParticleStore
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return particles to train on and particles held out.

    Raises
    ------
    InputError
        The list of names to hold out does not fit.
    """
    count = len(store)
    held = np.zeros(count, dtype=bool)
    if config.split is not None:
        try:
            lines = config.split.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise InputError(
                f"{config.split}: cannot be read ({error}), expected names of particles, one a "
                "line; give such a file"
            ) from error
        names = {line.strip() for line in lines if line.strip()}
        held = np.array([name in names for name in store.particles.names])
        if held.sum() != len(names):
            raise InputError(
                f"{config.split}: found {len(names)} names of which {int(held.sum())} are in the "
                f"particle file, expected all; use its names, such as {store.particles.names[0]}"
            )
    else:
        chosen = numpy_generator(config.seed, 2**20).permutation(count)
        held[chosen[: int(count * config.valfrac)]] = True
    if (~held).sum() < 4:
        raise InputError(
            f"{config.star}: found {int((~held).sum())} particles to train on, expected at least "
            "4; hold out fewer"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def _set_scene(training: Training, run: RunFolder, fraction: float) -> None:
    """Average the particles in their poses and give the model what they have in common."""
    run.progress(fraction, "averaging particles")
    scene = make_scene(
        training.store,
        training.mask,
        progress=lambda done: run.progress(fraction + 0.05 * done, "averaging particles"),
    )
    training.mask = scene.mask
    model = training.model
    pixel = training.sampling.working_pixel_angstrom
    model.set_scene(scene, training.choices.bfactor, pixel)
    with torch.no_grad():
        model.input_scale.fill_(1.0)
        batch = training.store.stacked(training.members[:32])
        values = model.encoder_input(*model.whitened(batch["data"], batch["weight"]))
        model.input_scale.fill_(float(values[:, model.mask > 0.5].std()))


def _fitted(training: Training, run: RunFolder) -> LatentStep:
    config, choices, store = training.config, training.choices, training.store
    plan = Plan(
        training.members,
        choices.batch_size,
        choices.epochs,
        rise=config.beta,
        cycles=config.cycles,
        seed=config.seed,
    )
    processes = process_count(config.devices, config.launcher)
    steps = plan.steps_per_epoch(processes)
    directions = torch.as_tensor(store.views)
    step = LatentStep(training.model, _step_settings(training), directions)
    settings = TrainingSettings(
        steps_per_epoch=steps,
        epochs=choices.epochs,
        learning_rate=choices.learning_rate,
        weight_decay=0.0,
        schedule=choices.schedule,
        gradient_clip=1.0,
        precision=config.precision,
        devices=config.devices,
        launcher=config.launcher,
        seed=config.seed,
        phase="states",
        progress_span=(_BEFORE, 0.85),
        signature={"preset": config.preset, "zdim": choices.size.zdim},
    )
    every = config.keep_every or choices.epochs
    monitor = Monitor(
        store,
        training.held,
        training.members,
        Path(run.folder),
        config.tmp_prefix,
        tuple(range(every, choices.epochs, every)),
        0,
        description_of(training),
    )
    source = ParticleSource(store, plan, steps)
    result: FitResult = fit(step, source, settings, run, resume=config.resume, validate=monitor)
    training.history = result.history
    training.model = step.model
    return step


def _step_settings(training: Training) -> StepSettings:
    config, model = training.config, training.model
    template = model.network.size.template_px / model.crop_px
    working = training.sampling.render_px / training.sampling.box_px
    return StepSettings(
        config.beta_control,
        config.lamb,
        training.choices.evidence,
        config.estpose and config.pose_method == "network",
        config.sigma_rotation,
        config.sigma_shift * working * template,
        7 if config.pose_hypotheses == "7" else 1,
    )


def _leave_out_nothing(training: Training, step: LatentStep) -> None:
    """Make sure that every particle that is trained on was trained on."""
    missed = training.members[step.encoded.numpy()[training.members] == 0]
    if len(missed):
        raise RuntimeError(f"{len(missed)} particles were never in a batch")


def _encoded(training: Training, run: RunFolder, refine_steps: int) -> Latents:
    run.progress(0.8, "encoding all particles")
    config = training.config
    return encode_all(
        training.model,
        training.store,
        training.device,
        refine_steps=refine_steps,
        prior=config.beta_control,
    )
