"""Describe a command as plain JSON, for forms, option tables and tests."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from cryodl.core.config.parameters import CommandConfig, traits
from cryodl.core.config.registry import Command

_LIMITS = ("ge", "gt", "le", "lt", "multiple_of")


def describe(command: Command) -> dict[str, Any]:
    """Return a command's schema.

    Returns
    -------
    dict
        ``group verb summary help parameters``; each parameter has ``name flag type default
        required choices limits unit group help expert original positional optional list``.
    """
    return {
        "group": command.group,
        "verb": command.verb,
        "summary": command.summary,
        "help": " ".join((command.config.__doc__ or "").split()),
        "parameters": [describe_field(name, field) for name, field in ordered_fields(command)],
    }


def ordered_fields(command: Command) -> list[tuple[str, FieldInfo]]:
    """Return a command's fields: its own first, then those that every command has."""
    common = CommandConfig.model_fields
    fields = command.config.model_fields.items()
    return sorted(fields, key=lambda entry: (entry[0] in common, entry[0] == "debug"))


def flag(name: str) -> str:
    """Return the command-line spelling of a parameter name."""
    return "--" + name.replace("_", "-")


def kind(field: FieldInfo) -> dict[str, Any]:
    """Return the plain type of a field: ``type``, ``choices``, ``optional`` and ``list``."""
    annotation: Any = field.annotation
    optional = False
    if get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        optional = len(inner) < len(get_args(annotation))
        annotation = inner[0]
    is_list = get_origin(annotation) is list
    if is_list:
        annotation = get_args(annotation)[0]
    choices = None
    if get_origin(annotation) is Literal:
        choices = list(get_args(annotation))
        annotation = type(choices[0])
    names = {bool: "boolean", int: "integer", float: "number", Path: "path", str: "text"}
    return {
        "type": names[annotation],
        "choices": choices,
        "optional": optional,
        "list": is_list,
    }


def describe_field(name: str, field: FieldInfo) -> dict[str, Any]:
    """Return one entry of ``parameters``, see `describe`."""
    limits = {
        key: getattr(rule, key)
        for rule in field.metadata
        for key in _LIMITS
        if getattr(rule, key, None) is not None
    }
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return {
        "name": name,
        "flag": None if traits(field).get("positional") else flag(name),
        **kind(field),
        "default": str(default) if isinstance(default, Path) else default,
        "required": field.is_required(),
        "limits": limits,
        "help": field.description or "",
        **traits(field),
    }
