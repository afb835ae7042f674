"""Declare the parameters of a command, each once, with everything a person needs to know of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cryodl.core.training.devices import read_devices
from cryodl.errors import ConfigError

REQUIRED = PydanticUndefined
Devices = str
Precision = Literal["32", "bf16", "16"]
_LARGEST_SEED = 2**31 - 1  # what all generators take, also with a little added
Launcher = Literal["local", "torchrun", "slurm"]


def parameter(
    default: Any = REQUIRED,
    *,
    help: str,  # noqa: A002 - the word users and both front ends know it by
    unit: str | None = None,
    group: str = "General",
    expert: bool = False,
    original: str | None = None,
    positional: bool = False,
    changeable: bool = False,
    **limits: Any,
) -> Any:
    """Declare one parameter of a command.

    Parameters
    ----------
    default
        Value when nothing is given; leave out for a required parameter.
    help
        What it does and how to choose it; shown by ``--help``, the Scipion form and the docs.
    unit
        Unit of the value, ``angstrom``, ``degrees``, ``px``; none for counts and ratios.
    group
        Section of the help page and of the form.
    expert
        True hides it behind the form's expert level.
    original
        Name of the option in the published program, for the migration table.
    positional
        True makes it an argument without a flag, in order of declaration.
    changeable
        True allows another value when a run is resumed, for it does not change the result.
    **limits
        Pydantic limits: ``ge gt le lt multiple_of min_length``.
    """
    extra: Any = {
        "unit": unit,
        "group": group,
        "expert": expert,
        "original": original,
        "positional": positional,
        "changeable": changeable,
    }
    info: Any = Field(
        default, description=" ".join(help.split()), json_schema_extra=extra, **limits
    )
    return info


def traits(field: FieldInfo) -> dict[str, Any]:
    """Return what `parameter` noted of a field: unit, group, expert and so on."""
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


class BareConfig(BaseModel):
    """What a command takes that only looks around and prints: nothing but how to fail."""

    model_config = ConfigDict(
        extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )

    debug: bool = parameter(
        False,
        help="Show the traceback of a failure.",
        group="Run",
        expert=True,
        changeable=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _names_something(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse an empty path, as an unset shell variable gives: it would mean the folder here."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if Path in (annotation, *get_args(annotation)):
            for given in value if isinstance(value, list) else [value]:
                if given == "" or "\0" in str(given):
                    raise ValueError("found an empty name, expected a file or folder; give one")
        return value


class CommandConfig(BareConfig):
    """What every command with an output folder takes: where, on what, and how to repeat it."""

    output: Path = parameter(help="Folder for all results; made if absent.", group="Run")
    devices: Devices = parameter(
        "auto",
        help="What to compute on: auto (the first GPU, else the CPU), cuda (all GPUs), cpu, or "
        "GPU numbers such as 0,1 or 0-3.",
        group="Run",
        original="--gpuID",
        changeable=True,
    )
    precision: Precision = parameter(
        "32",
        help="Number format of network passes; Fourier transforms stay in 32 bit.",
        group="Run",
    )
    launcher: Launcher = parameter(
        "local",
        help="Who starts the processes: this command, torchrun, or SLURM's srun.",
        group="Run",
        expert=True,
        changeable=True,
    )
    seed: int = parameter(
        0,
        help="Seed of all random choices: same seed, same result.",
        group="Run",
        ge=0,
        le=_LARGEST_SEED,
    )
    resume: bool = parameter(
        False,
        help="Go on with the run in the output folder; starts afresh when there is none.",
        group="Run",
        changeable=True,
    )
    overwrite: bool = parameter(
        False, help="Replace the run in the output folder.", group="Run", changeable=True
    )

    @field_validator("devices")
    @classmethod
    def _names_devices(cls, value: str) -> str:
        """Refuse what nobody can read here, also in commands that compute on the CPU alone."""
        try:
            read_devices(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return value

    def fixed_values(self) -> dict[str, Any]:
        """Return the values that decide the result; a resumed run must have the same."""
        fields = type(self).model_fields
        keep = {
            name
            for name, field in fields.items()
            if not traits(field).get("changeable") and name != "output"
        }
        return self.model_dump(mode="json", include=keep)
