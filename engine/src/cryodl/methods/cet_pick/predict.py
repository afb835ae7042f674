"""The heat map of a whole tomogram, made in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.methods.cet_pick.model import PickingNetwork
from cryodl.methods.cet_pick.tomogram import WorkingTomogram

_MARGIN_PX = 32  # in the plane: what the network sees around a voxel, nearly
_MARGIN_SLICES = 8
_CPU_VOXELS = 1_500_000  # of a tile with its margins: some 700 MB with the widest network
_GPU_VOXELS = 24_000_000
_EVEN = 32  # edges of tiles, so that no level of the network rounds


@dataclass(frozen=True)
class Tile:
    """A block of the result, start and stop in working voxels along z, y, x."""

    z: tuple[int, int]
    y: tuple[int, int]
    x: tuple[int, int]


def tiles_of(
    shape: tuple[int, int, int], voxels: int, columns: tuple[int, int] | None = None
) -> list[Tile]:
    """Cut a tomogram, or some of its columns, into blocks of so many voxels with margins."""
    depth, height, width = shape
    first, last = columns or (0, width)
    wanted_depth, edge = _tile_size((depth, height, last - first), voxels)
    return [
        Tile(
            (z, min(z + wanted_depth, depth)), (y, min(y + edge, height)), (x, min(x + edge, last))
        )
        for z in range(0, depth, wanted_depth)
        for y in range(0, height, edge)
        for x in range(first, last, edge)
    ]


def _tile_size(shape: tuple[int, int, int], voxels: int) -> tuple[int, int]:
    """Return depth and edge of tiles; the least is wasted when margins are few."""
    best, least = (8, _EVEN), np.inf
    for depth in range(4, shape[0] + 4, 4):
        room = voxels / (depth + 2 * _MARGIN_SLICES)
        edge = int(np.sqrt(room)) - 2 * _MARGIN_PX
        edge = min(edge - edge % _EVEN, -(-max(shape[1:]) // _EVEN) * _EVEN)
        if edge < _EVEN:
            continue
        blocks = -(-shape[0] // depth) * (-(-shape[1] // edge)) * (-(-shape[2] // edge))
        work = blocks * (depth + 2 * _MARGIN_SLICES) * (edge + 2 * _MARGIN_PX) ** 2
        if work < least:
            best, least = (depth, edge), work
    return best


def heat_map(
    network: PickingNetwork,
    tomogram: WorkingTomogram,
    device: torch.device,
    *,
    flips: bool = False,
    precision: str = "32",
    columns: tuple[int, int] | None = None,
    inverted: bool = False,
    on_tile: Callable[[float], None] | None = None,
) -> NDArray[np.float32]:
    """Return probabilities (kinds, z, y, x) in working slices and half the size in y and x.

    Parameters
    ----------
    network
        In evaluation mode.
    tomogram
        Prepared as the network was trained.
    device
        What to compute on.
    flips
        Average over the four mirror images in the plane: four times slower, a little better.
    precision
        ``32``, ``bf16`` or ``16``.
    columns
        First (even) and stop column of a part of the tomogram; the rest stays zero.
    inverted
        Turn the grey values over: the same noise, without a particle.
    on_tile
        Told the share that is done, after each tile.
    """
    depth, height, width = tomogram.shape
    kinds = network.size.kinds
    found = np.zeros((kinds, depth, -(-height // 2), -(-width // 2)), dtype=np.float32)
    network = network.to(device).eval()
    voxels = _GPU_VOXELS if device.type == "cuda" else _CPU_VOXELS
    tiles = tiles_of(tomogram.shape, voxels, columns)
    for number, tile in enumerate(tiles, 1):
        values = torch.from_numpy(tomogram.region(_with_margin(tile)))
        values = 1 - values if inverted else values
        scores = _scores(network, values[None].to(device), flips, precision)[0]
        _place(found, scores, tile)
        if on_tile:
            on_tile(number / len(tiles))
    return found


def _with_margin(tile: Tile) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    z, y, x = (
        _extended(side, margin, even)
        for side, margin, even in (
            (tile.z, _MARGIN_SLICES, 1),
            (tile.y, _MARGIN_PX, _EVEN),
            (tile.x, _MARGIN_PX, _EVEN),
        )
    )
    return z, y, x


def _extended(side: tuple[int, int], margin: int, even: int) -> tuple[int, int]:
    start, stop = side[0] - margin, side[1] + margin
    return start, stop + (start - stop) % even


@torch.inference_mode()
def _scores(
    network: PickingNetwork, values: torch.Tensor, flips: bool, precision: str
) -> torch.Tensor:
    total = None
    views: Iterator[tuple[int, ...]] = iter([(), (-1,), (-2,), (-2, -1)] if flips else [()])
    count = 0
    kind = {"bf16": torch.bfloat16, "16": torch.float16}.get(precision)
    for axes in views:
        turned = values.flip(axes) if axes else values
        with torch.autocast(values.device.type, dtype=kind, enabled=kind is not None):
            logits = network.logits(turned)
        chance = logits.float().sigmoid()
        chance = chance.flip(axes) if axes else chance
        total = chance if total is None else total + chance
        count += 1
    if total is None:
        return values
    return total / count


def _place(found: NDArray[np.float32], scores: torch.Tensor, tile: Tile) -> None:
    depth = tile.z[1] - tile.z[0]
    rows, columns = ((side[0] // 2, -(-side[1] // 2)) for side in (tile.y, tile.x))
    inner = scores[
        :,
        _MARGIN_SLICES : _MARGIN_SLICES + depth,
        _MARGIN_PX // 2 : _MARGIN_PX // 2 + rows[1] - rows[0],
        _MARGIN_PX // 2 : _MARGIN_PX // 2 + columns[1] - columns[0],
    ]
    found[:, tile.z[0] : tile.z[1], rows[0] : rows[1], columns[0] : columns[1]] = (
        inner.cpu().numpy()
    )
