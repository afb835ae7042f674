"""What a run writes down as JSON: plain values, and the versions it was made with."""

from __future__ import annotations

import math
import os
import sys
from typing import Any

import cryodl


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it.

    Scalars and arrays of numpy and torch become numbers and lists, paths become text, and a number
    that is not finite becomes None, for JSON has no word for it.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries a result depends on, without importing them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": ".".join(map(str, sys.version_info[:3])), "cryodl": cryodl.__version__}
    for name in ("torch", "numpy", "scipy", "mrcfile", "starfile", "lightning-fabric"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    found["host"] = os.uname().nodename
    return found
