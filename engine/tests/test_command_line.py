"""The command line as a user meets it: words, help, one-line errors, exit statuses."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cryodl
from cryodl import cli
from cryodl.core.config.parameters import BareConfig, CommandConfig, parameter
from cryodl.core.config.registry import Command
from cryodl.errors import InputError, ResourceError, TrainingError

CALLS: list[dict] = []


class ToyConfig(CommandConfig):
    """A command that only notes what it was given."""

    star: Path = parameter(help="Particles.", group="Input", positional=True)
    points: list[Path] = parameter([], help="Point files.", group="Input")
    cone_angle: float = parameter(10.0, help="Cone.", unit="degrees", group="Toy", gt=0, le=90)
    limit_res: float | None = parameter(None, help="Limit.", group="Toy", gt=0)
    batch_size: int = parameter(4, help="Batch.", group="Toy", ge=1)
    fail: str = parameter("", help="How to fail.", group="Toy")
    shown: bool = parameter(True, help="Yes or no.", group="Toy")


class LookConfig(BareConfig):
    """A command without a folder."""

    count: int = parameter(1, help="Times.", group="Toy", ge=1)


def run_toy(config, run):
    CALLS.append(config.model_dump())
    run.add_value("cone", config.cone_angle)
    failures = {
        "input": InputError("map.mrc: found a, expected b; do c"),
        "resource": ResourceError("disk: found none"),
        "numbers": TrainingError("loss: found nan"),
        "bug": ZeroDivisionError("division\nby zero"),
        "memory": MemoryError(),
        "torch": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9"),
        "end": EOFError("Compressed file ended"),
        "full": OSError(28, "No space left on device", "x.mrc"),
        "interrupt": KeyboardInterrupt(),
    }
    if config.fail:
        raise failures[config.fail]


def run_look(config):
    CALLS.append(config.model_dump())
    sys.stdout.write("looked\n")


COMMANDS = [
    Command("toy", "go-on", "Note what was given.", ToyConfig, f"{__name__}:run_toy"),
    Command("toy", "other", "The same.", ToyConfig, f"{__name__}:run_toy"),
]
LOOK = Command("look", "", "Look.", LookConfig, f"{__name__}:run_look")


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    module = sys.modules[__name__]
    single = type(sys)("look_commands")
    single.COMMANDS = [LOOK]
    monkeypatch.setitem(sys.modules, "look_commands", single)
    monkeypatch.setitem(sys.modules, __name__, module)
    monkeypatch.setitem(cli.GROUPS, "toy", (__name__, "Toys."))
    monkeypatch.setitem(cli.SINGLES, "look", ("look_commands", "Look."))
    monkeypatch.chdir(tmp_path)
    CALLS.clear()


def run(capsys, *words):
    status = cli.main([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_help_names_every_group_and_command(capsys):
    status, out, err = run(capsys, "--help")
    assert (status, err) == (0, "")
    for word in (*cli.GROUPS, *cli.SINGLES, "schema"):
        assert word in out
    assert run(capsys)[0] == 0


def test_group_without_verb_lists_its_commands(capsys):
    status, out, err = run(capsys, "toy", "--help")
    assert status == 0 and err == ""
    assert "go-on" in out and "other" in out and "Note what was given." in out


def test_help_of_a_command_shows_units_defaults_and_common_options(capsys):
    status, out, _ = run(capsys, "toy", "go-on", "--help")
    text = " ".join(out.replace("│", " ").split())
    assert status == 0
    assert "(default: 10.0, degrees)" in text
    assert "(required)" in text
    for flag in ("--output", "--devices", "--precision", "--launcher", "--seed", "--resume"):
        assert flag in text
    assert "--config" in text and "--no-shown" in text


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"cryodl {cryodl.__version__}\n", "")


def test_values_arrive_typed_and_defaults_hold(capsys):
    words = ("toy", "go-on", "p.star", "--output", "o", "--batch-size", "8", "--no-shown")
    assert run(capsys, *words)[0] == 0
    given = CALLS[0]
    assert given["star"] == Path("p.star")
    assert (given["batch_size"], given["cone_angle"], given["shown"]) == (8, 10.0, False)
    assert given["limit_res"] is None


def test_underscores_and_equal_signs_are_accepted(capsys):
    words = ("toy", "go-on", "p.star", "--output=o", "--limit_res=3.5", "--cone_angle", "20")
    assert run(capsys, *words)[0] == 0
    assert (CALLS[0]["limit_res"], CALLS[0]["cone_angle"]) == (3.5, 20.0)


def test_an_underscore_in_a_value_stays(capsys):
    assert run(capsys, "toy", "go-on", "my_p.star", "--output", "my_run")[0] == 0
    assert CALLS[0]["star"] == Path("my_p.star") and CALLS[0]["output"] == Path("my_run")


def test_several_values_after_one_flag(capsys):
    words = ("toy", "go-on", "p.star", "--points", "a", "b", "c", "--output", "o")
    assert run(capsys, *words)[0] == 0
    assert CALLS[0]["points"] == [Path("a"), Path("b"), Path("c")]


def test_repeated_flag_means_the_same(capsys):
    words = ("toy", "go-on", "--points", "a", "--points=b", "p.star", "--output", "o")
    assert run(capsys, *words)[0] == 0
    assert CALLS[0]["points"] == [Path("a"), Path("b")]
    assert CALLS[0]["star"] == Path("p.star")


def test_argument_after_double_dash_may_begin_with_a_dash(capsys):
    assert run(capsys, "toy", "go-on", "--output", "o", "--", "-p.star")[0] == 0
    assert CALLS[0]["star"] == Path("-p.star")


def test_negative_number_reaches_the_check(capsys):
    status, _, err = run(capsys, "toy", "go-on", "p.star", "--output", "o", "--cone-angle", "-5")
    assert status == 2 and "--cone-angle" in err and "-5" in err


BAD_WORDS = {
    "unknown option": (("toy", "go-on", "p.star", "--output", "o", "--no-such", "1"), "--no-such"),
    "unknown verb": (("toy", "fly"), "fly"),
    "unknown word": (("fly",), "fly"),
    "unknown word with options": (("fly", "high", "--output", "o"), "fly"),
    "no output": (("toy", "go-on", "p.star"), "--output"),
    "no input": (("toy", "go-on", "--output", "o"), "STAR"),
    "too many inputs": (("toy", "go-on", "p.star", "q.star", "--output", "o"), "q.star"),
    "value missing": (("toy", "go-on", "p.star", "--output"), "--output"),
    "no number": (("toy", "go-on", "p.star", "--output", "o", "--cone-angle", "wide"), "wide"),
    "out of range": (("toy", "go-on", "p.star", "--output", "o", "--cone-angle", "91"), "90"),
    "not finite": (("toy", "go-on", "p.star", "--output", "o", "--cone-angle", "nan"), "--cone"),
    "no integer": (("toy", "go-on", "p.star", "--output", "o", "--batch-size", "1.5"), "1.5"),
    "no choice": (("toy", "go-on", "p.star", "--output", "o", "--precision", "64"), "'32'"),
    "resume and overwrite": (
        ("toy", "go-on", "p.star", "--output", "o", "--resume", "--overwrite"),
        "--overwrite",
    ),
    "empty output": (("toy", "go-on", "p.star", "--output", ""), "--output"),
    "empty input": (("toy", "go-on", "", "--output", "o"), "STAR"),
    "empty file in a list": (
        ("toy", "go-on", "p.star", "--points", "a", "", "--output", "o"),
        "--points",
    ),
    "empty limit": (("toy", "go-on", "p.star", "--output", "o", "--limit-res", ""), "--limit-res"),
    "schema of nothing": (("schema",), "schema"),
    "schema of unknown word": (("schema", "fly"), "fly"),
    "schema of unknown verb": (("schema", "toy", "fly"), "fly"),
    "schema without verb": (("schema", "toy"), "go-on"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_bad_words_give_one_line_and_status_2(capsys, case):
    words, named = BAD_WORDS[case]
    status, out, err = run(capsys, *words)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert named in err
    assert "Traceback" not in out + err
    assert not CALLS
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("fail", "status"),
    [
        ("input", 2),
        ("resource", 3),
        ("numbers", 4),
        ("bug", 1),
        ("end", 1),
        ("memory", 3),
        ("torch", 3),
        ("full", 3),
        ("interrupt", 130),
    ],
)
def test_failures_give_one_line_and_their_status(capsys, fail, status):
    got, _, err = run(capsys, "toy", "go-on", "p.star", "--output", "o", "--fail", fail)
    assert got == status
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "Traceback" not in err
    if status != 2:
        assert "Traceback" in Path("o/log.txt").read_text()
        assert not Path("o/result.json").exists()


def test_debug_shows_the_traceback(capsys):
    words = ("toy", "go-on", "p.star", "--output", "o", "--fail", "bug", "--debug")
    status, _, err = run(capsys, *words)
    assert status == 1 and "Traceback" in err and "error: ZeroDivisionError" in err


def test_config_file_gives_values_and_flags_win(capsys, tmp_path):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"star": "p.star", "output": "o", "batch_size": 2, "shown": False}))
    status = run(capsys, "toy", "go-on", "--config", file, "--batch-size", "3")[0]
    assert status == 0
    assert (CALLS[0]["batch_size"], CALLS[0]["shown"], CALLS[0]["output"]) == (3, False, Path("o"))


def test_a_flag_can_say_no_to_a_yes_of_the_file(capsys, tmp_path):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"star": "p.star", "output": "o", "shown": True}))
    assert run(capsys, "toy", "go-on", "--config", file, "--no-shown")[0] == 0
    assert CALLS[0]["shown"] is False


def test_config_of_a_run_repeats_it(capsys):
    words = ("toy", "go-on", "p.star", "--output", "o", "--cone-angle", "33", "--points", "a", "b")
    assert run(capsys, *words)[0] == 0
    assert run(capsys, "toy", "go-on", "--config", "o/config.json", "--output", "again")[0] == 0
    first, second = CALLS
    assert {**second, "output": first["output"]} == first


def test_config_of_another_command_is_refused(capsys):
    assert run(capsys, "toy", "go-on", "p.star", "--output", "o")[0] == 0
    status, _, err = run(capsys, "toy", "other", "--config", "o/config.json", "--output", "n")
    assert status == 2 and "toy go-on" in err


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"no_such": 1, "star": "p", "output": "o"}', "--no-such"),
        ('{"star": "p", "output": "o", "batch_size": null}', "--batch-size"),
        ('{"star": "p", "output": "o", "batch_size": [1]}', "--batch-size"),
        ('{"star": "p", "output": "o", "cone_angle": NaN}', "--cone-angle"),
        ('{"parameters": [1]}', "c.json"),
        ("[1, 2]", "c.json"),
        ("{", "c.json"),
        ("", "c.json"),
    ],
)
def test_bad_config_files(capsys, content, named):
    Path("c.json").write_text(content)
    status, _, err = run(capsys, "toy", "go-on", "--config", "c.json")
    assert status == 2 and named in err and err.count("\n") == 1
    assert not CALLS


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_config_file_that_cannot_be_read(capsys, name):
    status, _, err = run(capsys, "toy", "go-on", "--config", name)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1


def test_config_file_that_is_not_text(capsys):
    Path("c.json").write_bytes(bytes(range(256)))
    status, _, err = run(capsys, "toy", "go-on", "--config", "c.json")
    assert status == 2 and "c.json" in err


def test_schema_is_json_with_every_parameter(capsys):
    status, out, err = run(capsys, "schema", "toy", "go-on")
    described = json.loads(out)
    assert (status, err) == (0, "")
    names = [p["name"] for p in described["parameters"]]
    assert names == [p for p in ToyConfig.model_fields if p not in CommandConfig.model_fields] + [
        p for p in CommandConfig.model_fields if p != "debug"
    ] + ["debug"]
    assert run(capsys, "schema", "look")[0] == 0


def test_a_command_without_a_folder_takes_none(capsys):
    status, out, _ = run(capsys, "look", "--count", "2")
    assert (status, out) == (0, "looked\n")
    assert CALLS == [{"debug": False, "count": 2}]
    assert list(Path().iterdir()) == []
    status, _, err = run(capsys, "look", "--output", "o")
    assert status == 2 and "--output" in err


def test_every_registered_command_has_a_help_page(capsys):
    for word in (*cli.GROUPS, *cli.SINGLES):
        for command in cli.commands_of(word):
            status, out, err = run(capsys, *command.name.split(), "--help")
            assert (status, err) == (0, ""), command.name
            assert command.summary.split()[0] in out


def test_module_and_script_give_the_status_to_the_shell(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cryodl", "fly"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ")


def test_a_closed_pipe_is_no_bug(tmp_path):
    command = f"set -o pipefail; {sys.executable} -m cryodl schema spisonet correct | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (141, "")


def test_help_answers_in_under_half_a_second(tmp_path):
    def cpu_seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "cryodl", "--help"]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    # Processor time: it is what the command needs on a machine that does nothing else.
    assert min(cpu_seconds() for _ in range(4)) < 0.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_one_line_that_says_how_to_go_on(monkeypatch, capsys, number):
    def told_to_stop(config, run):
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr(sys.modules[__name__], "run_toy", told_to_stop)
    before = signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup themselves
    try:
        assert cli.main(["toy", "go-on", "a.star", "--output", "o"]) == 128 + number
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    error = capsys.readouterr().err
    assert error.startswith(f"error: stopped by {number.name}; the same command with --resume")
    assert not Path("o/result.json").exists()
    assert not Path("o/.lock").exists()


def test_a_signal_that_nohup_ignores_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = lambda config, run: os.kill(os.getpid(), signal.SIGHUP)  # noqa: E731
        monkeypatch.setattr(sys.modules[__name__], "run_toy", run)
        assert cli.main(["toy", "go-on", "a.star", "--output", "o"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("flag", "value"), [("--devices", "0;1"), ("--devices", ""), ("--seed", str(2**31))]
)
def test_common_options_are_judged_in_every_command(capsys, flag, value):
    assert cli.main(["toy", "go-on", "a.star", "--output", "o", flag, value]) == 2
    assert capsys.readouterr().err.startswith(f"error: {flag}: found {value!r}, expected")
    assert not Path("o").exists()
