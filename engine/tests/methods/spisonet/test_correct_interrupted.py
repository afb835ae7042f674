"""A correction killed at any moment and resumed gives the files of one that was left alone."""

import json
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
from correction_cases import correct, write_case

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["torch", "lightning_fabric", "matplotlib.figure", "cryodl.methods.spisonet.restore"]
)
LENGTH = ["--epochs", "24", "--n-subvolume", "1", "--batch-size", "1", "--norm", "batch"]


def live(case, output, options):
    """Correct in a process of its own, silently."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    (output.parent / "ready").touch()
    correct(case, output, *LENGTH, *options)


def start(case, output, *options):
    (output.parent / "ready").unlink(missing_ok=True)
    process = FORKS.Process(target=live, args=(case, output, options))
    process.start()
    while not (output.parent / "ready").exists() and process.exitcode is None:
        time.sleep(0.005)
    return process


def newest(output):
    """Return when a checkpoint was last written; 0 while there is none."""
    times = [0]
    for path in (output / "checkpoints").rglob("last.pt"):
        try:
            times.append(path.stat().st_mtime_ns)
        except FileNotFoundError:
            continue
    return max(times)


def metrics(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "options", [(), pytest.param(("--independent",), marks=pytest.mark.slow)], ids=["", "two nets"]
)
def test_killed_at_ten_random_moments(options, tmp_path):
    from safetensors.torch import load_file

    case = write_case(tmp_path / "case")
    places = [tmp_path / name / "out" for name in ("undisturbed", "disturbed")]
    for place in places:
        place.parent.mkdir()
    started = time.monotonic()
    process = start(case, places[0], *options)
    process.join()
    assert process.exitcode == 0
    seconds = time.monotonic() - started

    moments = random.Random(9)
    killed, seen = 0, []
    for life in range(40):
        before = newest(places[1])
        resume = ("--resume",) if life else ()
        process = start(case, places[1], *resume, *options)
        # Most lives get as far as a checkpoint of their own; some die before.
        while killed < 10 and life % 4 and newest(places[1]) == before and process.is_alive():
            time.sleep(0.002)
        process.join(moments.uniform(0, 0.05) * seconds if killed < 10 else None)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        killed += 1
        seen.append(newest(places[1]))
    assert process.exitcode == 0
    assert killed == 10, f"the run was over after {killed} kills: make it longer"
    assert len(set(seen)) > 4, "the kills fell on the same few checkpoints"
    names = [Path(name) for name in json.loads((places[0] / "result.json").read_text())["files"]]
    assert sum(name.suffix == ".safetensors" for name in names) == 1 + len(options)
    for name in names:
        expected, found = places[0] / name, places[1] / name
        if name.suffix == ".safetensors":
            tensors, others = load_file(expected), load_file(found)
            assert tensors.keys() == others.keys()
            assert all(bool((tensors[key] == others[key]).all()) for key in tensors)
        if name.suffix == ".mrc":
            assert expected.read_bytes()[1024:] == found.read_bytes()[1024:], name
    assert metrics(places[1]) == metrics(places[0])
    assert len(metrics(places[0])) == 24 * (1 + len(options))
    present = [
        {path.relative_to(place) for path in place.rglob("*") if path.is_file()} for place in places
    ]
    assert present[0] == present[1], "something was left over"
