"""The output folder: who may use it, what is refused, what is removed, what is left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryodl.core.config.parameters import CommandConfig, parameter
from cryodl.core.config.registry import Command
from cryodl.core.run.folder import OWN_FILES, RunFolder
from cryodl.errors import ConfigError, CryodlError, InputError, ResourceError, TrainingError


class SampleConfig(CommandConfig):
    """A sample."""

    map: Path = parameter(Path("m.mrc"), help="Map.", positional=True)
    steps: int = parameter(3, help="Steps.", ge=1)
    threads: int = parameter(0, help="Threads.", changeable=True)


class OtherConfig(SampleConfig):
    """Another."""


SAMPLE = Command("sample", "take", "Take.", SampleConfig, "os:getcwd")
OTHER = Command("sample", "give", "Give.", OtherConfig, "os:getcwd")
NOISE = np.random.default_rng(0).standard_normal((8, 8, 8)).astype(np.float32)


def open_run(folder, command=SAMPLE, **values):
    return RunFolder(command, command.config(output=folder, **values))


def finish_run(folder, **values):
    with open_run(folder, **values) as run:
        run.log("hello")
        run.metrics(step=1, loss=0.5)
        run.write_map("map", "map.mrc", NOISE, pixel_size_angstrom=1.5)
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.pt").write_text("x")
        run.finish()
    return json.loads((folder / "result.json").read_text())


def names(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_run_leaves_what_the_contract_says(tmp_path):
    folder = tmp_path / "deep" / "run"
    result = finish_run(folder)
    assert names(folder) == sorted(
        ["config.json", "last.pt", "log.txt", "map.mrc", "metrics.jsonl", "progress.json"]
        + ["report.html", "result.json"]
    )
    assert result["map"] == "map.mrc" and result["report"] == "report.html"
    assert result["files"] == ["map.mrc", "report.html"]
    assert result["command"] == "sample take"
    config = json.loads((folder / "config.json").read_text())
    assert config["parameters"]["steps"] == 3 and "output" not in config["parameters"]
    assert config["versions"]["numpy"] == np.__version__
    assert json.loads((folder / "progress.json").read_text())["fraction"] == 1.0
    assert "hello" in (folder / "log.txt").read_text()


def test_a_finished_run_is_refused_without_a_word_of_permission(tmp_path):
    finish_run(tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=r"sample take.*--resume, --overwrite"):
        open_run(tmp_path / "run").__enter__()
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"thesis\.tex"):
        open_run(tmp_path).__enter__()
    assert names(tmp_path) == ["thesis.tex"]


def test_an_empty_folder_is_taken(tmp_path):
    assert finish_run(tmp_path)["map"] == "map.mrc"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(InputError, match="found a file"):
        open_run(tmp_path / "run").__enter__()
    with pytest.raises(InputError, match="cannot be made"):
        open_run(tmp_path / "run" / "below").__enter__()
    with pytest.raises(InputError, match="cannot be made"):
        open_run(tmp_path / ("x" * 300)).__enter__()
    assert (tmp_path / "run").read_text() == "mine"


def test_resume_of_a_finished_run_has_nothing_to_do(tmp_path):
    finish_run(tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with open_run(tmp_path / "run", resume=True) as run:
        assert run.finished_before
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert (tmp_path / "run" / "result.json").exists()


def test_resume_of_a_finished_run_whose_result_was_deleted_runs_again(tmp_path):
    finish_run(tmp_path / "run")
    (tmp_path / "run" / "map.mrc").unlink()
    with open_run(tmp_path / "run", resume=True) as run:
        assert not run.finished_before
        assert not run.path("result.json").exists()
        assert run.path("checkpoints/last.pt").exists()


def test_resume_where_nothing_is_starts_afresh(tmp_path):
    with open_run(tmp_path / "run", resume=True) as run:
        assert not run.finished_before


def test_resume_needs_the_same_settings_but_not_the_same_machine(tmp_path):
    with pytest.raises(RuntimeError), open_run(tmp_path / "run"):
        raise RuntimeError("crash")
    with open_run(tmp_path / "run", resume=True, threads=7, devices="cpu") as run:
        assert not run.finished_before
    with pytest.raises(ConfigError, match=r"--steps: found 4, expected 3"):
        open_run(tmp_path / "run", resume=True, steps=4).__enter__()
    with pytest.raises(ConfigError, match=r"^MAP: found 'other.mrc', expected 'm.mrc'"):
        open_run(tmp_path / "run", resume=True, map="other.mrc").__enter__()
    with pytest.raises(ConfigError, match="--seed"):
        open_run(tmp_path / "run", resume=True, seed=1).__enter__()
    with pytest.raises(ConfigError, match="sample give"):
        open_run(tmp_path / "run", command=OTHER, resume=True).__enter__()


def test_resume_with_settings_that_cannot_be_read(tmp_path):
    (tmp_path / "config.json").write_text('{"comm')
    with pytest.raises(InputError, match=r"config\.json"):
        open_run(tmp_path, resume=True).__enter__()


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"fixed": 3}', "", "{}"])
def test_resume_with_settings_of_another_kind(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises((InputError, ConfigError)):
        open_run(tmp_path, resume=True).__enter__()
    with open_run(tmp_path, overwrite=True):
        pass


def test_overwrite_removes_its_own_files_and_no_others(tmp_path):
    folder = tmp_path / "run"
    with open_run(folder) as run:
        (folder / "truth").mkdir()
        run.write_map("truth", "truth/map.mrc", NOISE, pixel_size_angstrom=1.0)
        run.finish()
    (folder / "notes.txt").write_text("mine")
    (folder / "mine").mkdir()
    with open_run(folder, overwrite=True) as run:
        assert not run.finished_before
        assert names(folder) == [".lock", "config.json", "notes.txt"]
        assert not (folder / "truth").exists() and (folder / "mine").is_dir()


def test_overwrite_removes_the_results_of_a_run_that_did_not_finish(tmp_path):
    with pytest.raises(RuntimeError), open_run(tmp_path / "run") as run:
        run.write_map("map", "half.mrc", NOISE, pixel_size_angstrom=1.0)
        raise RuntimeError("crash")
    assert "half.mrc" in names(tmp_path / "run")
    with open_run(tmp_path / "run", overwrite=True):
        assert names(tmp_path / "run") == [".lock", "config.json"]


def test_files_without_keys_are_results_and_are_cleared(tmp_path):
    folder, boxes = tmp_path / "run", [f"boxes/{i}.mrc" for i in range(3)]
    with open_run(folder) as run:
        run.add_files(boxes)
        run.add_files(boxes[:1])  # again
        (folder / "boxes").mkdir()
        for name in boxes[:2]:
            run.path(name).write_text("x")
        with pytest.raises(CryodlError, match=r"2\.mrc: found no such result"):
            run.finish()
        run.path(boxes[2]).write_text("x")
        run.finish()
    result = json.loads((folder / "result.json").read_text())
    assert result["files"] == [*boxes, "report.html"] and "boxes" not in result
    (folder / "boxes" / "mine.txt").write_text("mine")
    with open_run(folder, overwrite=True):
        assert names(folder) == [".lock", "config.json", "mine.txt"]


def test_expected_files_that_are_no_result_are_removed(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError), open_run(folder) as run:
        run.expect_files(["a/1.mrc", "a/2.mrc", "b/3.mrc"])
        for name in ("a/1.mrc", "a/2.mrc", "b/3.mrc"):
            run.path(name).parent.mkdir(exist_ok=True)
            run.path(name).write_text("x")
        raise RuntimeError("crash")
    with open_run(folder, resume=True) as run:
        run.expect_files(["a/1.mrc", "a/9.mrc"])
        run.add_files(["a/1.mrc"])
        run.finish()
    assert {"1.mrc"} == set(names(folder)) & {"1.mrc", "2.mrc", "3.mrc"}
    assert not (folder / "b").exists()
    with open_run(folder, resume=True) as run:
        assert run.finished_before  # what was only expected need not be there


def test_expected_files_of_a_crash_are_cleared(tmp_path):
    (tmp_path / "precious.mrc").write_text("mine")
    with pytest.raises(RuntimeError), open_run(tmp_path / "run") as run:
        run.expect_files(["half.mrc", "../precious.mrc"])
        run.path("half.mrc").write_text("x")
        raise RuntimeError("crash")
    with open_run(tmp_path / "run", overwrite=True) as run:
        assert names(tmp_path / "run") == [".lock", "config.json"]
        run.expect_files(["../precious.mrc"])
        run.finish()
    assert (tmp_path / "precious.mrc").read_text() == "mine"


def test_overwrite_never_leaves_the_folder(tmp_path):
    (tmp_path / "precious.mrc").write_text("mine")
    finish_run(tmp_path / "run")
    listed = {"files": ["../precious.mrc", str(tmp_path / "precious.mrc"), "map.mrc"]}
    (tmp_path / "run" / "result.json").write_text(json.dumps(listed))
    (tmp_path / "run" / "report.html").unlink()
    (tmp_path / "run" / "report.html").symlink_to(tmp_path / "precious.mrc")
    with open_run(tmp_path / "run", overwrite=True):
        pass
    assert (tmp_path / "precious.mrc").read_text() == "mine"


@pytest.mark.parametrize("error", [InputError("x"), ConfigError("x")])
def test_bad_input_leaves_no_trace(tmp_path, error):
    folder = tmp_path / "deep" / "run"
    with pytest.raises(type(error)), open_run(folder) as run:
        run.log("reading")
        run.write_map("map", "map.mrc", NOISE, pixel_size_angstrom=1.0)
        raise error
    assert not (tmp_path / "deep").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(type(error)), open_run(tmp_path / "empty") as run:
        run.log("reading")
        run.write_map("map", "map.mrc", NOISE, pixel_size_angstrom=1.0)
        raise error
    assert names(tmp_path / "empty") == []


def test_bad_input_found_late_does_not_cost_the_checkpoints(tmp_path):
    with pytest.raises(InputError), open_run(tmp_path / "run") as run:
        run.path("checkpoints").mkdir()
        run.path("checkpoints/last.pt").write_text("hours of work")
        raise InputError("the mask has gone")
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()


def test_bad_input_of_a_resumed_run_leaves_what_was_there(tmp_path):
    with pytest.raises(RuntimeError), open_run(tmp_path / "run") as run:
        run.log("first")
        raise RuntimeError("crash")
    before = set(names(tmp_path / "run"))
    with pytest.raises(InputError), open_run(tmp_path / "run", resume=True):
        raise InputError("x")
    assert set(names(tmp_path / "run")) == before


def test_any_other_failure_leaves_the_log(tmp_path):
    with pytest.raises(TrainingError), open_run(tmp_path / "run") as run:
        run.log("training")
        raise TrainingError("nan")
    assert "log.txt" in names(tmp_path / "run") and ".lock" not in names(tmp_path / "run")


def test_a_folder_in_use_is_refused_even_for_resume_and_overwrite(tmp_path):
    with open_run(tmp_path / "run") as first:
        first.log("going on")
        for words in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(ConfigError, match="still going on"):
                open_run(tmp_path / "run", **words).__enter__()
        assert "going on" in first.path("log.txt").read_text()
        assert first.path(".lock").exists()
    assert not (tmp_path / "run" / ".lock").exists()


HOLDER = """
import sys, time
from test_run_folder import open_run
from pathlib import Path
with open_run(Path(sys.argv[1])) as run:
    run.log("held")
    time.sleep(60)
"""


def test_the_lock_is_held_by_a_living_process_and_ends_with_it(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert "held" in holder.stdout.readline()
            with pytest.raises(ConfigError, match="still going on"):
                open_run(tmp_path / "run", resume=True).__enter__()
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        finally:
            holder.kill()
    assert (tmp_path / "run" / ".lock").exists()
    with open_run(tmp_path / "run", resume=True) as run:
        assert not run.finished_before


def test_a_lock_whose_name_vanished_is_not_enough(tmp_path, monkeypatch):
    """Two processes must not hold locks on two files of the same name."""
    import fcntl

    from cryodl.core.run import lock

    calls = []

    def flock(file, how):
        calls.append(file)
        if len(calls) == 1:  # meanwhile its last holder has removed the name
            (tmp_path / ".lock").unlink()
        fcntl.flock(file, how)

    class Slow:
        LOCK_EX, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_NB

    Slow.flock = staticmethod(flock)
    monkeypatch.setattr(lock, "fcntl", Slow)
    first = lock.FolderLock(tmp_path)
    first.acquire()
    assert len(calls) == 2 and (tmp_path / ".lock").exists()
    with pytest.raises(ConfigError):
        lock.FolderLock(tmp_path).acquire()
    first.release()


def test_leftovers_of_a_kill_are_swept_and_do_not_count_as_foreign(tmp_path):
    (tmp_path / ".cryodl-1-abc.json").write_text("half")
    with open_run(tmp_path):
        assert names(tmp_path) == [".lock", "config.json"]


def test_a_folder_without_permission(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cryodl.core.run.lock.FolderLock.acquire", refuse)
    with pytest.raises(ResourceError, match="Permission denied"):
        open_run(tmp_path / "run").__enter__()
    assert not (tmp_path / "run").exists()


def test_a_full_disk_at_the_start_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments, **words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cryodl.core.run.folder.write_json", full)
    with pytest.raises(ResourceError, match="No space left"):
        open_run(tmp_path / "run").__enter__()
    assert not (tmp_path / "run").exists()


def test_a_promised_file_that_is_missing_is_no_success(tmp_path):
    with pytest.raises(CryodlError, match=r"gone\.mrc"), open_run(tmp_path / "run") as run:
        run.add_file("map", "gone.mrc")
        run.finish()
    assert not (tmp_path / "run" / "result.json").exists()
    with pytest.raises(CryodlError, match=r"empty\.mrc"), open_run(tmp_path / "two") as run:
        run.path("empty.mrc").write_text("")
        run.add_file("map", "empty.mrc")
        run.finish()


def test_own_files_do_not_name_the_lock():
    assert ".lock" not in OWN_FILES
