"""The network of spIsoNet and the file it is given to others in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryodl.core.networks.unet import UNET_WIDTHS, UNet3D
from cryodl.core.training.weights import load_weights, read_metadata, save_weights
from cryodl.errors import CheckpointError, InputError


def build_network(width: int, norm: str, seed: int) -> UNet3D:
    """Return an untrained network; the same seed gives the same weights.

    Parameters
    ----------
    width : int
        Channels of the first level: 64 (published, 23,764,737 parameters), 32 or 16.
    norm : str
        ``batch`` (published) or ``instance``.
    seed : int
        Of the initial weights.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet3D(UNET_WIDTHS[width], norm=norm)


def save_network(path: Path, network: UNet3D, description: dict[str, Any]) -> None:
    """Write the network as safetensors with what is needed to build it again."""
    save_weights(path, network, {"method": "spisonet", **description})


def load_network(path: Path, width: int, norm: str) -> UNet3D:
    """Read a network of an earlier run.

    Raises
    ------
    InputError
        No such file, or the pickled format of the published program.
    CheckpointError
        Another method's network, or one of another width.
    """
    if path.suffix in (".pt", ".pth", ".pkl"):
        raise InputError(
            f"{path}: found a pickled model, expected .safetensors; pickles can run any code and "
            "are never opened, train again or give the model of a cryodl run"
        )
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a .safetensors model")
    found = read_metadata(path)
    if found.get("method") != "spisonet":
        raise CheckpointError(
            f"{path}: found a model of {found.get('method')}, expected one of spisonet correct"
        )
    if (found.get("width"), found.get("norm")) != (width, norm):
        raise CheckpointError(
            f"{path}: found a network of width {found.get('width')} with {found.get('norm')} norm, "
            f"expected width {width} with {norm} norm; give --width {found.get('width')} "
            f"--norm {found.get('norm')}"
        )
    network = build_network(width, norm, 0)
    load_weights(path, network)
    return network
