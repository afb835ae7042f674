"""A run killed at any moment and resumed ends bit for bit as one that was left alone."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from training_pieces import (
    BlobSource,
    DenoisingStep,
    RecordingRun,
    read_metrics,
    small_settings,
    weights_of,
)

from cryodl.core.training.checkpoint import read_newest
from cryodl.core.training.loop import fit

# The server imports torch once; each life of a run is a fork of it, without its import time.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "lightning_fabric", "scipy", "einops"])


def settings():
    return small_settings(
        epochs=8,
        steps_per_epoch=8,
        accumulate=2,
        ema_decay=0.9,
        schedule="cosine",
        gradient_clip=1.0,
        checkpoint_seconds=0.0,  # at every step: more files to be killed in
        keep_best=True,
    )


def live(folder, resume, dying_call=None):
    """Train in a process of its own; with `dying_call`, die in that call of os.replace."""
    torch.set_num_threads(1)
    if dying_call is not None:
        die_in_replace(*dying_call)
    run = RecordingRun(folder)
    (Path(folder) / "ready").touch()
    step = DenoisingStep()
    result = fit(step, BlobSource(), settings(), run, resume=resume)
    (Path(folder) / "seconds").write_text(str(result.seconds))
    torch.save(weights_of(step), Path(folder) / "result.pt")


def die_in_replace(number, before):
    """Kill this process just before or just after the given call of a rename."""
    calls = 0
    true_replace = os.replace

    def replace(*arguments):
        nonlocal calls
        calls += 1
        if calls == number and before:
            os.kill(os.getpid(), signal.SIGKILL)
        true_replace(*arguments)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace
    Path.replace = replace


def finish(folder, resume, dying_call=None):
    process = FORKS.Process(target=live, args=(folder, resume, dying_call))
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert finish(folder, False) == 0
    return folder


def age(path):
    """Return what changes when a file is replaced, None while it is absent."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def assert_same_end(folder, undisturbed):
    found, expected = (torch.load(f / "result.pt") for f in (folder, undisturbed))
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
    assert read_metrics(folder) == read_metrics(undisturbed)
    assert [line["epoch"] for line in read_metrics(folder)] == list(range(1, 9))
    assert not list((folder / "checkpoints").glob(".cryodl-*")), "half-written files were left"


def test_killed_at_ten_random_moments(tmp_path, undisturbed):
    moments = random.Random(20)
    # Ten lives that are together shorter than one run, however fast the machine.
    longest = 0.05 * float((undisturbed / "seconds").read_text())
    last = tmp_path / "checkpoints" / "last.pt"
    killed, steps = 0, []
    for life in range(200):
        process = FORKS.Process(target=live, args=(tmp_path, life > 0))
        (tmp_path / "ready").unlink(missing_ok=True)
        process.start()
        before = age(last)
        while not (tmp_path / "ready").exists():
            time.sleep(0.001)
        if killed < 10:
            # Most lives get as far as a checkpoint of their own; two may die on the threshold.
            while life not in (0, 5) and age(last) == before and process.exitcode is None:
                time.sleep(0.001)
            process.join(moments.uniform(0, 1) * longest)
        else:
            process.join()
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        killed += 1
        newest = read_newest(tmp_path / "checkpoints")  # one is always whole
        steps.append(-1 if newest is None else newest[0]["step"])
    assert process.exitcode == 0
    assert killed == 10, f"the run was over after {killed} kills: make it longer"
    assert len(set(steps)) > 4, f"the kills fell on the same few steps: {steps}"
    assert_same_end(tmp_path, undisturbed)


@pytest.mark.parametrize("before", [True, False])
def test_killed_around_every_rename_of_a_checkpoint(tmp_path, undisturbed, before):
    # The first life writes its first checkpoint by one rename, all later ones by two or three.
    for number in (1, 2, 3, 4, 5, 3, 4, 5):
        resume = (tmp_path / "metrics.jsonl").exists() or (tmp_path / "checkpoints").exists()
        assert finish(tmp_path, resume, (number, before)) == -signal.SIGKILL
        checkpoints = tmp_path / "checkpoints"
        assert read_newest(checkpoints) is not None or (number == 1 and before)
    assert finish(tmp_path, True) == 0
    assert_same_end(tmp_path, undisturbed)
