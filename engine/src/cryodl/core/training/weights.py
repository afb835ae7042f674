"""Weights given to others: safetensors, with what made them in the header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cryodl.core.io.atomic import write_bytes
from cryodl.errors import CheckpointError

_HEADER = "cryodl"
_FOREIGN = (".pt", ".pth", ".pkl", ".ckpt", ".h5", ".hdf5", ".keras")


def save_weights(
    path: str | os.PathLike[str], module: nn.Module, metadata: Mapping[str, Any]
) -> None:
    """Write a module's state as safetensors, atomically.

    Parameters
    ----------
    path
        By convention ``*.safetensors``.
    module
        On any device.
    metadata
        What a reader must know to rebuild the module, as JSON values.

    Raises
    ------
    ResourceError
        The disk is full or not writable.
    """
    from safetensors.torch import save

    # Clones: safetensors refuses tensors that share memory.
    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in module.state_dict().items()}
    header = {_HEADER: json.dumps(dict(metadata), sort_keys=True)}
    write_bytes(path, save(tensors, metadata=header))


def load_weights(path: str | os.PathLike[str], module: nn.Module) -> dict[str, Any]:
    """Read weights into a module and return the metadata saved with them.

    Raises
    ------
    CheckpointError
        Not such a file, or its tensors are not those of the module.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    metadata = read_metadata(path)
    try:
        tensors = load(Path(path).read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from error
    assign_weights(module, tensors, str(path))
    return metadata


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata of a weights file without reading the weights.

    Raises
    ------
    CheckpointError
        The file is absent or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as stored:
            found: dict[str, Any] = json.loads((stored.metadata() or {}).get(_HEADER, "null"))
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{path}: found safetensors without our header, expected weights written by cryodl; "
            "give such a file"
        )
    return found


def assign_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy named tensors into a module after checking that they fit exactly.

    Raises
    ------
    CheckpointError
        Names are missing or unexpected, or a shape differs; `source` is named in the message.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in tensors]
    unexpected = sorted(name for name in tensors if name not in own)
    if missing or unexpected:
        found = [f"{len(missing)} missing ({missing[0]})"] if missing else []
        found += [f"{len(unexpected)} unexpected ({unexpected[0]})"] if unexpected else []
        raise CheckpointError(
            f"{source}: found {' and '.join(found)} of {len(own)} weights, expected those of this "
            "network; give the file or the network size it was trained with"
        )
    for name, tensor in own.items():
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: found {name} of shape {tuple(tensors[name].shape)}, expected "
                f"{tuple(tensor.shape)}; give the file or the network size it was trained with"
            )
    module.load_state_dict(dict(tensors))


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with a value that is not finite, or None."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return name
    return None


def _unreadable(path: str | os.PathLike[str], error: Exception) -> CheckpointError:
    if Path(path).suffix.lower() in _FOREIGN and Path(path).is_file():
        return CheckpointError(
            f"{path}: found a network of another program, expected .safetensors; it works only "
            "with the code it was trained in, and such a file can run any code: train again with "
            "cryodl"
        )
    reason = " ".join(str(error).split())
    return CheckpointError(
        f"{path}: cannot be read ({reason}), expected weights in safetensors format; "
        "give another file"
    )
