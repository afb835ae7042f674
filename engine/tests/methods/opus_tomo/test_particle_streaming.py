"""Particles come from the disk as they are needed: memory and open files do not grow with them."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles import images
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.volumes.particle_average import AverageSettings
from cryodl.methods.opus_tomo.canonical import Sampling
from cryodl.methods.opus_tomo.data import ParticleSource, ParticleStore, Plan

BOX, BATCH = 16, 4
PER_PARTICLE = 12 * BOX * BOX * (BOX // 2 + 1)


def source_of(folder: Path, count: int, cache_gb: float) -> ParticleSource:
    """A few files stand for many particles."""
    paths = [folder / f"{number}.mrc" for number in range(8)]
    if not paths[0].exists():
        generator = np.random.default_rng(0)
        for path in paths:
            noise = generator.standard_normal((BOX,) * 3, dtype=np.float32)
            write_volume(path, noise, pixel_size_angstrom=10.0)
    particles = particles_from_subtomograms(
        [paths[number % 8] for number in range(count)],
        pixel_size_angstrom=10.0,
        box_size_px=BOX,
        names=[f"particle {number}" for number in range(count)],
    )
    sampling = Sampling(BOX, BOX, BOX, 10.0)
    store = ParticleStore(particles, AverageSettings(transfer="none"), sampling, cache_gb=cache_gb)
    return ParticleSource(store, Plan(np.arange(count), BATCH, 1), count // BATCH)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def grown(source: ParticleSource, batches: int) -> int:
    """Return the bytes that stay after some batches, of the first which makes what all share."""
    source.batch(0, 0, 0, 1)
    tracemalloc.start()
    for step in range(1, batches + 1):
        source.batch(step, 0, 0, 1)
    found = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize("count", [400, 4000])
def test_nothing_stays_without_a_cache(tmp_path, count):
    source = source_of(tmp_path, count, 0.0)
    files = open_files()
    assert grown(source, 20) < 10 * PER_PARTICLE  # of 80 that were read
    assert open_files() <= files + 8 and images._mapped.cache_info().maxsize <= 64


def test_the_cache_stops_at_its_limit(tmp_path):
    room = 12
    source = source_of(tmp_path, 400, room * PER_PARTICLE / 2**30)
    assert grown(source, 20) < (room + 10) * PER_PARTICLE
    assert len(source.store._kept) == room
