"""Forms from the engine's schemas, and engine parameters from filled-in forms.

A parameter is declared once, in the engine. Here it becomes a form parameter of the same name in
camelCase, with the same default, limits, unit and help; and its value goes back under its own name.
"""

import hashlib
import json
import os
import shlex
from functools import cache

from pyworkflow.protocol import params
from pyworkflow.protocol.constants import LEVEL_ADVANCED, LEVEL_NORMAL

_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schemas")
_UNITS = {"angstrom": "Å", "degrees": "°"}
_ABBREVIATIONS = {
    "fsc": "FSC",
    "gpu": "GPU",
    "3dfsc": "3DFSC",
    "res": "resolution",
    "snr": "SNR",
    "acc": "accumulate",
    "ncpus": "CPU threads",
    "n": "number of",
    "subvolume": "subvolumes",
    "highres": "high resolution",
    "ref": "reference",
    "px": "",
    "tta": "test-time averaging",
    "norm": "normalisation",
    "gb": "(GB)",
}
_CLASSES = {
    "integer": params.IntParam,
    "number": params.FloatParam,
    "boolean": params.BooleanParam,
    "path": params.FileParam,
    "text": params.StringParam,
}
_LIMITS = {
    "ge": ("at least", lambda value, limit: value >= limit),
    "gt": ("greater than", lambda value, limit: value > limit),
    "le": ("at most", lambda value, limit: value <= limit),
    "lt": ("less than", lambda value, limit: value < limit),
    "multiple_of": ("a multiple of", lambda value, limit: value % limit == 0),
}
_MOST_CHOICES_IN_A_ROW = 3

RUN_GROUP = "Run"


class Limits(params.Conditional):
    """Validator for the limits of a schema parameter; an empty optional value passes."""

    def __init__(self, limits, optional=False):
        words = " and ".join(f"{_LIMITS[key][0]} {limits[key]:g}" for key in sorted(limits))
        super().__init__(f"should be {words}", allowsNull=optional)
        self.limits = dict(limits)

    def _condition(self, value):
        try:
            return all(_LIMITS[key][1](float(value), limit) for key, limit in self.limits.items())
        except (TypeError, ValueError):
            return False


@cache
def loadSchema(command):
    """Return the schema of an engine command, for example ``spisonet correct``."""
    name = command.replace(" ", "_").replace("-", "_")
    with open(os.path.join(_FOLDER, f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)


def schemaParameters(command, group=None):
    """Return the parameters of a command, of one group or all, in the schema's order."""
    found = loadSchema(command)["parameters"]
    return [p for p in found if group is None or p["group"] == group]


def formName(name):
    """Return the form's name of an engine parameter: ``limit_res`` becomes ``limitRes``."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def labelOf(parameter):
    """Return the label of a parameter in plain words with its unit, ``Limit resolution (Å)``."""
    words = [_ABBREVIATIONS.get(word, word) for word in parameter["name"].split("_")]
    text = " ".join(word for word in words if word)
    unit = parameter["unit"]
    return f"{text[:1].upper()}{text[1:]}" + (f" ({_UNITS.get(unit, unit)})" if unit else "")


def helpOf(parameter):
    """Return the help of a parameter with its names on the command line."""
    lines = [parameter["help"]]
    if parameter["flag"]:
        lines.append(f"Command line: *{parameter['flag']}*")
    if parameter["original"]:
        lines.append(f"Original program: *{parameter['original']}*")
    return "\n".join(lines)


def addParameters(form, command, group, skip=(), **overrides):
    """Add the parameters of one group of a schema to a form, section or group of it.

    Parameters
    ----------
    form
        Anything with ``addParam``.
    command, group : str
        Which parameters.
    skip : collection of str
        Engine names that the protocol feeds itself.
    **overrides
        By form name: a dict of arguments of ``addParam`` that replace those of the schema.
    """
    for parameter in schemaParameters(command, group):
        if parameter["name"] not in skip:
            addParameter(form, parameter, **overrides.get(formName(parameter["name"]), {}))


def addParameter(form, parameter, **overrides):
    """Add one schema parameter to a form."""
    arguments = {
        "label": labelOf(parameter),
        "help": helpOf(parameter),
        "default": parameter["default"],
        "expertLevel": LEVEL_ADVANCED if parameter["expert"] else LEVEL_NORMAL,
    }
    paramClass = _CLASSES[parameter["type"]]
    if parameter["choices"]:
        paramClass = params.EnumParam
        choices = [str(choice) for choice in parameter["choices"]]
        arguments["choices"] = choices
        arguments["default"] = choices.index(str(parameter["default"]))
        few = len(choices) <= _MOST_CHOICES_IN_A_ROW
        enum = params.EnumParam
        arguments["display"] = enum.DISPLAY_HLIST if few else enum.DISPLAY_COMBO
    elif parameter["list"]:
        paramClass = params.StringParam
        arguments["default"] = shlex.join(map(str, parameter["default"] or []))
        arguments["help"] += "\nSeveral with blanks between; quote what holds a blank."
    elif parameter["optional"]:
        arguments["allowsNull"] = True
    if parameter["limits"] and not parameter["list"]:
        arguments["validators"] = [Limits(parameter["limits"], parameter["optional"])]
    if paramClass in (params.StringParam, params.FileParam) and arguments["default"] is None:
        arguments["default"] = ""
    form.addParam(formName(parameter["name"]), paramClass, **{**arguments, **overrides})


def engineValues(protocol, command, skip=()):
    """Return the engine parameters that a filled-in form holds, with the engine's types.

    Empty optional values are left out, so that the engine's own default applies.
    """
    values = {}
    for parameter in schemaParameters(command):
        name = parameter["name"]
        if name in skip or not protocol.hasAttribute(formName(name)):
            continue
        value = protocol.getAttributeValue(formName(name))
        if parameter["list"]:
            values[name] = [_typed(parameter, word) for word in shlex.split(value or "")]
            continue
        if value is None or value == "":
            continue
        values[name] = _typed(parameter, value)
    return values


def _typed(parameter, value):
    if parameter["choices"]:
        return parameter["choices"][int(value)]
    if parameter["type"] == "integer":
        return int(value)
    if parameter["type"] == "number":
        return float(value)
    if parameter["type"] == "boolean":
        return bool(value)
    return str(value)


def fingerprint(command, values, settings=None, ownFolder=""):
    """Return a short hash of everything that decides the result of a command.

    What may change without changing the result (threads, devices) stays out. Input files count
    with their size and time, so that a changed file of the same name is noticed; files that the
    protocol itself makes, in `ownFolder`, count by the `settings` they are made from.
    """
    fixed = {p["name"] for p in schemaParameters(command) if not p["changeable"]}
    content = {name: value for name, value in values.items() if name in fixed and name != "output"}
    paths = {p["name"] for p in schemaParameters(command) if p["type"] == "path"}
    for name in sorted(paths & set(content)):
        given = content[name] if isinstance(content[name], list) else [content[name]]
        if not (ownFolder and all(str(path).startswith(ownFolder) for path in given)):
            content[name] = [[path, *fileState(path)] for path in given]
    text = json.dumps([command, content, settings or {}], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def fileState(path):
    """Return size and time of a file, or nothing where there is none."""
    try:
        state = os.stat(path)
    except OSError:
        return ()
    return state.st_size, int(state.st_mtime)
