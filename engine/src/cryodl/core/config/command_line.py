"""Turn a config class into a command: flags, help page, checks and one-line errors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from cryodl.core.config.parameters import BareConfig, CommandConfig, traits
from cryodl.core.config.registry import Command
from cryodl.core.config.schema import flag, kind, ordered_fields
from cryodl.errors import ConfigError, InputError


def build_function(
    command: Command, execute: Callable[[Command, BareConfig], None]
) -> Callable[..., None]:
    """Return a function with the signature typer needs for `command`.

    All values arrive as text or None (not given); pydantic alone judges them, so that a flag, a
    JSON file and a form are held to the same rules with the same words.
    """

    def function(**values: Any) -> None:
        config_file = values.pop("config_file")
        given = {key: value for key, value in values.items() if value not in (None, [], ())}
        if config_file is not None:
            given = {**read_config_file(config_file, command), **given}
        execute(command, make_config(command, given))

    signature = [_signature_entry(name, field) for name, field in ordered_fields(command)]
    signature.append(
        inspect.Parameter(
            "config_file",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(
                    "--config",
                    metavar="FILE",
                    rich_help_panel="Run",
                    help="JSON file with parameters; flags on the command line win.",
                ),
            ],
        )
    )
    function.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    function.__doc__ = command.config.__doc__
    return function


def make_config(command: Command, values: dict[str, Any]) -> BareConfig:
    """Check `values` and return the config; the first fault becomes a `ConfigError`."""
    try:
        config = command.config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_fault(command, error)) from None
    if isinstance(config, CommandConfig) and config.resume and config.overwrite:
        raise ConfigError(
            "--resume and --overwrite: found both, expected one of them; --resume goes on, "
            "--overwrite starts afresh"
        )
    return config


def read_config_file(path: str | Path, command: Command) -> dict[str, Any]:
    """Read parameters from a JSON file: a plain object, or a run's own ``config.json``.

    Raises
    ------
    InputError
        Missing file, no JSON, no object, or the config of another command.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: found no readable JSON ({error}), expected an object with parameters; "
            "give the file of an earlier run or write one"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: found a {type(content).__name__}, expected a JSON object")
    if "parameters" not in content:
        return content
    if content.get("command") not in (None, command.name):
        raise InputError(
            f"{path}: found the config of '{content['command']}', expected '{command.name}'; "
            "give a config of this command"
        )
    if not isinstance(content["parameters"], dict):
        raise InputError(
            f"{path}: found no object under 'parameters', expected names and values; give the file "
            "of an earlier run"
        )
    return dict(content["parameters"])


def normalise_arguments(arguments: list[str], command: Command) -> list[str]:
    """Accept ``--limit_res`` for ``--limit-res`` and ``--points A B C`` for repeated flags.

    ``--points=A`` takes exactly one value, and everything after ``--`` is an input.
    """
    lists = {flag(name) for name, f in command.config.model_fields.items() if kind(f)["list"]}
    result: list[str] = []
    repeated: str | None = None
    for index, argument in enumerate(arguments):
        if argument == "--":
            return result + arguments[index:]
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            argument = name.replace("_", "-") + equals + value
            repeated = argument if argument in lists else None
            result.append(argument)
        elif repeated is not None and result[-1] != repeated:
            result += [repeated, argument]
        else:
            result.append(argument)
    return result


def _signature_entry(name: str, field: FieldInfo) -> inspect.Parameter:
    described = kind(field)
    noted = traits(field)
    base: Any = list[str] if described["list"] else str
    options: dict[str, Any] = {
        "help": _help_text(field, noted),
        "rich_help_panel": noted.get("group", "General"),
        "show_default": False,
    }
    if described["choices"]:
        options["metavar"] = "|".join(str(c) for c in described["choices"])
    elif described["type"] != "boolean":
        options["metavar"] = described["type"].upper()
    if noted.get("positional"):
        options["metavar"] = name.upper()
        entry = typer.Argument(**options)
    elif described["type"] == "boolean":
        base = bool
        options.pop("metavar", None)
        entry = typer.Option(f"{flag(name)}/--no-{flag(name)[2:]}", **options)
    else:
        entry = typer.Option(flag(name), **options)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[base | None, entry],
    )


def _help_text(field: FieldInfo, noted: dict[str, Any]) -> str:
    text = field.description or ""
    unit = f", {noted['unit']}" if noted.get("unit") else ""
    if field.is_required():
        return f"{text} (required{unit})"
    default = field.get_default(call_default_factory=True)
    if default is None or default in ("", []):
        return text + (f" ({noted['unit']})" if noted.get("unit") else "")
    return f"{text} (default: {default}{unit})"


def _first_fault(command: Command, error: ValidationError) -> str:
    fault = error.errors()[0]
    name = str(fault["loc"][0]) if fault["loc"] else ""
    field = command.config.model_fields.get(name)
    positional = field is not None and traits(field).get("positional")
    shown = name.upper() if positional else flag(name) if name else command.name
    remedy = f"see cryodl {command.name} --help"
    if fault["type"] == "missing":
        return f"{shown}: found nothing, expected a value; {remedy}"
    if fault["type"] == "extra_forbidden":
        return f"{shown}: found an unknown parameter, expected one of this command's; {remedy}"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if fault["type"] == "value_error":
        return message if message.startswith("--") else f"{shown}: {message}"
    return f"{shown}: found {fault['input']!r}, expected {message}; {remedy}"
