"""Parameters: what a class declares is what flags, files, schemas and resumed runs go by."""

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError, model_validator

from cryodl.core.config.command_line import make_config, normalise_arguments, read_config_file
from cryodl.core.config.parameters import BareConfig, CommandConfig, parameter, traits
from cryodl.core.config.registry import Command
from cryodl.core.config.schema import describe, flag, kind, ordered_fields
from cryodl.errors import ConfigError, InputError


class SampleConfig(CommandConfig):
    """A sample.

    With a second paragraph.
    """

    map: Path = parameter(help="A\n   map.", group="Input", positional=True)
    mask: Path | None = parameter(None, help="Mask.", group="Input", original="--mask")
    number: int = parameter(4, help="Number.", ge=1, multiple_of=2, expert=True)
    angle: float = parameter(10.0, help="Angle.", unit="degrees", gt=0, le=90)
    mode: Literal["fast", "exact"] = parameter("fast", help="Mode.")
    names: list[str] = parameter([], help="Names.")
    threads: int = parameter(0, help="Threads.", ge=0, changeable=True)

    @model_validator(mode="after")
    def _fits(self):
        if self.number == 66:
            raise ValueError("--number: found 66, expected another; change it")
        if self.number == 68:
            raise ValueError("found 68, expected another")
        return self


SAMPLE = Command("sample", "take", "Take a sample.", SampleConfig, "os.path:join")
GOOD = {"map": "m.mrc", "output": "o"}


def entry(name):
    return next(p for p in describe(SAMPLE)["parameters"] if p["name"] == name)


def test_schema_of_each_kind_of_parameter():
    assert entry("map") == {
        "name": "map",
        "flag": None,
        "type": "path",
        "choices": None,
        "optional": False,
        "list": False,
        "default": None,
        "required": True,
        "limits": {},
        "help": "A map.",
        "unit": None,
        "group": "Input",
        "expert": False,
        "original": None,
        "positional": True,
        "changeable": False,
    }
    assert entry("mask")["optional"] and entry("mask")["original"] == "--mask"
    assert entry("number")["limits"] == {"ge": 1, "multiple_of": 2}
    assert entry("number")["type"] == "integer" and entry("number")["expert"]
    assert entry("angle")["limits"] == {"gt": 0, "le": 90}
    assert entry("angle")["unit"] == "degrees"
    assert entry("mode")["choices"] == ["fast", "exact"] and entry("mode")["type"] == "text"
    assert entry("names")["list"] and entry("names")["type"] == "text"
    assert entry("resume")["type"] == "boolean" and entry("resume")["default"] is False


def test_schema_names_command_and_help():
    described = describe(SAMPLE)
    assert (described["group"], described["verb"]) == ("sample", "take")
    assert described["help"] == "A sample. With a second paragraph."


def test_own_parameters_come_before_the_common_ones():
    names = [name for name, _ in ordered_fields(SAMPLE)]
    assert names[: len(names) - len(CommandConfig.model_fields)] == [
        "map",
        "mask",
        "number",
        "angle",
        "mode",
        "names",
        "threads",
    ]


def test_unknown_type_is_not_silently_text():
    class OddConfig(CommandConfig):
        odd: dict = parameter({}, help="Odd.")

    with pytest.raises(KeyError):
        kind(OddConfig.model_fields["odd"])


def test_flag_spelling():
    assert flag("limit_res") == "--limit-res"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"number": 3}, ["--number", "3", "multiple of 2"]),
        ({"number": 0}, ["--number", "0"]),
        ({"number": 66}, ["--number: found 66, expected another; change it"]),
        ({"number": 68}, ["found 68"]),
        ({"angle": 0}, ["--angle", "0", "greater than 0"]),
        ({"angle": float("inf")}, ["--angle", "inf"]),
        ({"angle": "wide"}, ["--angle", "wide"]),
        ({"mode": "Fast"}, ["--mode", "Fast", "'exact'"]),
        ({"map": None}, ["MAP"]),
        ({"mask": ""}, ["--mask", "empty"]),
        ({"names": "a"}, ["--names"]),
        ({"other": 1}, ["--other", "unknown"]),
        ({"seed": -1}, ["--seed", "-1"]),
        ({"resume": True, "overwrite": True}, ["--resume", "--overwrite"]),
    ],
)
def test_bad_values_give_one_line_with_name_and_finding(values, words):
    with pytest.raises(ConfigError) as caught:
        make_config(SAMPLE, {**GOOD, **values})
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_missing_values_are_named():
    with pytest.raises(ConfigError, match="MAP: found nothing"):
        make_config(SAMPLE, {"output": "o"})
    with pytest.raises(ConfigError, match="--output: found nothing"):
        make_config(SAMPLE, {"map": "m"})


def test_text_and_typed_values_mean_the_same():
    typed = make_config(SAMPLE, {**GOOD, "number": 6, "angle": 1.5, "resume": True})
    text = make_config(SAMPLE, {**GOOD, "number": "6", "angle": "1.5", "resume": "true"})
    assert typed == text


def test_fixed_values_leave_out_what_does_not_change_the_result():
    config = make_config(SAMPLE, {**GOOD, "threads": 5, "devices": "0", "debug": True})
    fixed = config.fixed_values()
    left_out = {"output", "threads", "devices", "launcher", "resume", "overwrite", "debug"}
    assert left_out == set(SampleConfig.model_fields) - set(fixed)
    assert fixed["map"] == "m.mrc" and fixed["precision"] == "32" and fixed["seed"] == 0


def test_a_bare_config_has_no_folder():
    command = Command("look", "", "Look.", BareConfig, "os.path:join")
    assert not command.has_folder and SAMPLE.has_folder
    assert command.name == "look"
    make_config(command, {})


def test_a_default_out_of_range_is_found_at_once():
    class WrongConfig(CommandConfig):
        number: int = parameter(0, help="Number.", ge=1)

    with pytest.raises(ValidationError):
        WrongConfig(output="o")


def test_traits_of_a_field_that_was_not_declared_by_us():
    assert traits(BareConfig.model_fields["debug"])["group"] == "Run"


def test_target_is_loaded_by_name():
    assert SAMPLE.load()("a", "b") == "a/b"


def test_every_command_of_the_engine_is_complete():
    from cryodl import cli

    for word in (*cli.GROUPS, *cli.SINGLES):
        for command in cli.commands_of(word):
            described = describe(command)
            assert described["help"], command.name
            for p in described["parameters"]:
                where = f"{command.name} {p['name']}"
                assert len(p["help"]) > 5 and p["help"].endswith((".", ")")), where
                assert p["unit"] in (None, "angstrom", "degrees", "px"), where
                assert not p["name"].endswith("_px") or p["unit"] == "px", where
                assert not (p["positional"] and p["type"] == "boolean"), where


WORD = st.text("abcxyz_=-.", min_size=1, max_size=8).filter(lambda w: not w.startswith("-"))


@given(st.lists(WORD, min_size=1, max_size=4), st.lists(WORD, max_size=2))
def test_values_after_a_list_flag_are_kept_as_they_are(names, inputs):
    result = normalise_arguments([*inputs, "--names", *names, "--number", "2"], SAMPLE)
    pairs = [word for name in names for word in ("--names", name)]
    assert result == [*inputs, *pairs, "--number", "2"]


def test_nothing_is_changed_after_a_double_dash():
    words = ["--limit_res", "3", "--", "--odd_name", "-x"]
    assert normalise_arguments(words, SAMPLE) == ["--limit-res", "3", "--", "--odd_name", "-x"]


def test_config_file_of_a_run_and_plain_file(tmp_path):
    plain, run = tmp_path / "plain.json", tmp_path / "run.json"
    plain.write_text('{"number": 2}')
    run.write_text('{"command": "sample take", "parameters": {"number": 2}}')
    assert read_config_file(plain, SAMPLE) == read_config_file(run, SAMPLE) == {"number": 2}
    run.write_text('{"command": "sample give", "parameters": {}}')
    with pytest.raises(InputError, match="sample give"):
        read_config_file(run, SAMPLE)
