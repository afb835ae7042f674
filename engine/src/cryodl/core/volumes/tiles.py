"""A network over a volume of any size: overlapping tiles, blended by ramps that add up to one.

Along each axis the kept part of tile `i` starts at ``i * cube - 2 * overlap`` of the volume and
is ``cube + 2 * overlap`` long; it rises from zero over the first ``2 * overlap`` voxels and falls
over the last, so neighbours add up to exactly one. Around the kept part the network sees the
tile's margin; beyond the volume it sees its mirror image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodl.errors import ConfigError, DeviceError

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AxisPlan:
    """The tiles along one axis, all lengths in voxels.

    Attributes
    ----------
    size_px
        Edge of the volume.
    tile_size_px
        Edge of what the network sees.
    margin_px
        Voxels of a tile's output that are thrown away at its start.
    starts_px
        First voxel of each tile, in the volume (negative: mirrored).
    weights
        Weight of each kept voxel, the same for all tiles, (kept,) float32.
    """

    size_px: int
    tile_size_px: int
    margin_px: int
    starts_px: tuple[int, ...]
    weights: Float[np.ndarray, " kept"]

    def source_indices(self, tile: int) -> np.ndarray:
        """Return which voxel of the volume each voxel of a tile shows, (tile_size_px,)."""
        positions = self.starts_px[tile] + np.arange(self.tile_size_px)
        # The edge voxel is repeated, and a volume smaller than the margin is mirrored again.
        folded = positions % (2 * self.size_px)
        return np.where(folded < self.size_px, folded, 2 * self.size_px - 1 - folded)

    def kept(self, tile: int) -> tuple[slice, slice]:
        """Return the part of the volume a tile adds to, and that part of its kept output."""
        first = self.starts_px[tile] + self.margin_px
        start, stop = max(first, 0), min(first + len(self.weights), self.size_px)
        return slice(start, stop), slice(start - first, stop - first)


def plan_axis(size_px: int, cube_size_px: int, tile_size_px: int, overlap_px: int = 7) -> AxisPlan:
    """Return starts and weights of the tiles along one axis.

    Parameters
    ----------
    size_px
        Edge of the volume, 1 or more.
    cube_size_px
        Step between tiles, at least ``2 * overlap_px``.
    tile_size_px
        What the network sees, at least ``cube_size_px + 2 * overlap_px``.
    overlap_px
        Half the length of the ramp between neighbours.

    Returns
    -------
    AxisPlan
        ``ceil((size_px + 2 * overlap_px) / cube_size_px)`` tiles.

    Raises
    ------
    ConfigError
        The sizes do not fit together.
    """
    _check_sizes(size_px, cube_size_px, tile_size_px, overlap_px)
    margin = (tile_size_px - cube_size_px) // 2 - overlap_px
    count = math.ceil((size_px + 2 * overlap_px) / cube_size_px)
    starts = tuple(index * cube_size_px - 2 * overlap_px - margin for index in range(count))
    kept, ramp = cube_size_px + 2 * overlap_px, 2 * overlap_px
    weights = np.ones(kept, dtype=np.float32)
    if ramp:
        position = np.arange(kept, dtype=np.float64)
        rise, fall = np.minimum(position, ramp), np.minimum(kept - position, ramp)
        weights = (rise * fall / ramp**2).astype(np.float32)
    return AxisPlan(size_px, tile_size_px, margin, starts, weights)


def predict_tiled(
    network: Network,
    volume: Float[Tensor, "d h w"] | np.ndarray,
    *,
    cube_size_px: int,
    tile_size_px: int,
    batch_size: int = 1,
    overlap_px: int = 7,
    device: str | torch.device,
    progress: Callable[[float], None] | None = None,
) -> Float[Tensor, "d h w"]:
    """Apply a network with one output channel to a volume; see `predict_tiled_channels`.

    Returns
    -------
    Tensor
        (d, h, w) float32, on the host.
    """
    return predict_tiled_channels(
        network,
        volume,
        cube_size_px=cube_size_px,
        tile_size_px=tile_size_px,
        batch_size=batch_size,
        overlap_px=overlap_px,
        device=device,
        progress=progress,
    )[0]


def predict_whole(
    network: nn.Module,
    volume: Float[Tensor, "d h w"],
    *,
    multiple: int,
    device: str | torch.device,
) -> Float[Tensor, "d h w"]:
    """Apply a network to a small volume at once, padded by its mirror image where needed.

    For a volume that fits in one tile this costs a fraction of tiling it.

    Parameters
    ----------
    network
        Maps (1, 1, d, h, w) to the same.
    volume
        (d, h, w), any edges.
    multiple
        The network takes edges that are multiples of this.
    device
        Where the network is.

    Returns
    -------
    Tensor
        (d, h, w) float32, on the host.
    """
    padded = volume
    for axis, size in enumerate(volume.shape):
        index = torch.arange(math.ceil(size / multiple) * multiple, device=volume.device)
        padded = padded.index_select(axis, torch.where(index < size, index, 2 * size - 1 - index))
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            output = network(padded[None, None].to(device))[0, 0].float().cpu()
    finally:
        network.train(was_training)
    d, h, w = volume.shape
    return output[:d, :h, :w].clone()


def predict_tiled_channels(
    network: Network,
    volume: Float[Tensor, "d h w"] | np.ndarray,
    *,
    cube_size_px: int,
    tile_size_px: int,
    out_channels: int = 1,
    batch_size: int = 1,
    overlap_px: int = 7,
    device: str | torch.device,
    progress: Callable[[float], None] | None = None,
    canvas: np.ndarray | None = None,
) -> Float[Tensor, "c d h w"]:
    """Apply a network to a volume tile by tile and blend the outputs.

    The volume stays where it is and only tiles go to the device, so a memory-mapped array larger
    than memory will do. The network is put in evaluation mode and back; no gradients are kept.
    Wrap the call in ``torch.autocast`` for half precision: the blending is in float32.

    Parameters
    ----------
    network
        Maps (b, 1, t, t, t) on `device` to (b, out_channels, t, t, t).
    volume
        (d, h, w), tensor or (memory-mapped) array; any edges.
    cube_size_px, tile_size_px, overlap_px
        See `plan_axis`.
    out_channels
        Channels the network returns.
    batch_size
        Tiles per call of the network; halved when the device runs out of memory.
    device
        Where the network is.
    progress
        Called with the fraction done after each tile.
    canvas
        A float32 array (out_channels, d, h, w) to fill, for example memory-mapped; by default
        one is made in memory.

    Returns
    -------
    Tensor
        (out_channels, d, h, w) float32, on the host; shares the memory of `canvas`.

    Raises
    ------
    ConfigError
        Sizes do not fit together, or the network returns another shape.
    DeviceError
        One tile alone does not fit in the device's memory.

    References
    ----------
    spIsoNet v1.0, prediction.
    """
    if volume.ndim != 3:
        raise ConfigError(f"volume: found {volume.ndim} axes, expected three (z, y, x)")
    axes = tuple(plan_axis(n, cube_size_px, tile_size_px, overlap_px) for n in volume.shape)
    if batch_size < 1:
        raise ConfigError(f"batch size: found {batch_size}, expected 1 or more")
    canvas = _clean_canvas(canvas, (out_channels, *volume.shape))
    tiles = list(product(*(range(len(axis.starts_px)) for axis in axes)))
    was_training = isinstance(network, nn.Module) and network.training
    if isinstance(network, nn.Module):
        network.eval()
    try:
        done = 0
        with torch.inference_mode():
            for tile, output in _outputs(network, volume, axes, tiles, batch_size, device):
                if output.shape != (out_channels, *(axis.tile_size_px for axis in axes)):
                    raise ConfigError(
                        f"network: found output {tuple(output.shape)}, expected {out_channels} "
                        f"channels of {tile_size_px} px cubes"
                    )
                _add_tile(canvas, output, axes, tile)
                done += 1
                if progress is not None:
                    progress(done / len(tiles))
    finally:
        if was_training and isinstance(network, nn.Module):
            network.train()
    return torch.from_numpy(canvas)


def _outputs(
    network: Network,
    volume: Tensor | np.ndarray,
    axes: tuple[AxisPlan, ...],
    tiles: list[tuple[int, ...]],
    batch_size: int,
    device: str | torch.device,
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield each tile's number and output, with smaller batches when memory runs out."""
    first = 0
    while first < len(tiles):
        chosen = tiles[first : first + batch_size]
        batch = torch.stack([_cut(volume, axes, tile) for tile in chosen])[:, None]
        outputs = _run_network(network, batch, device)
        if outputs is None:
            if len(chosen) == 1:
                raise DeviceError(
                    f"{device}: out of memory with one tile of {axes[0].tile_size_px} px, "
                    "expected room for it; choose smaller tiles or a smaller network"
                )
            batch_size = max(1, len(chosen) // 2)
            continue
        yield from zip(chosen, outputs, strict=True)
        first += len(chosen)


def _run_network(network: Network, batch: Tensor, device: str | torch.device) -> np.ndarray | None:
    """Return the network's output on the host, or None when the device's memory is full."""
    try:
        return network(batch.to(device)).float().cpu().numpy()
    except torch.OutOfMemoryError:
        pass
    # Outside the handler: the exception would keep the failed call's tensors alive.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _cut(volume: Tensor | np.ndarray, axes: tuple[AxisPlan, ...], tile: tuple[int, ...]) -> Tensor:
    """Return one tile, (t, t, t) float32, mirrored beyond the edges of the volume."""
    indices = [axis.source_indices(number) for axis, number in zip(axes, tile, strict=True)]
    # Read the box that holds all voxels needed first: one contiguous piece of a mapped file.
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in indices)
    part = volume[box]
    array = part.detach().cpu().numpy() if isinstance(part, Tensor) else np.asarray(part)
    local = np.ix_(*(i - s.start for i, s in zip(indices, box, strict=True)))
    return torch.from_numpy(np.ascontiguousarray(array[local], dtype=np.float32))


def _add_tile(
    canvas: np.ndarray, output: np.ndarray, axes: tuple[AxisPlan, ...], tile: tuple[int, ...]
) -> None:
    places, parts = zip(*(a.kept(i) for a, i in zip(axes, tile, strict=True)), strict=True)
    z, y, x = (axis.weights[part] for axis, part in zip(axes, parts, strict=True))
    weights = z[:, None, None] * y[:, None] * x
    inner = tuple(
        slice(part.start + axis.margin_px, part.stop + axis.margin_px)
        for axis, part in zip(axes, parts, strict=True)
    )
    canvas[(slice(None), *places)] += output[(slice(None), *inner)] * weights


def _clean_canvas(canvas: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    if canvas is None:
        return np.zeros(shape, dtype=np.float32)
    if canvas.shape != shape or canvas.dtype != np.float32:
        raise ConfigError(
            f"canvas: found {canvas.shape} {canvas.dtype}, expected {shape} float32; give such one"
        )
    canvas[...] = 0
    return canvas


def _check_sizes(size_px: int, cube_size_px: int, tile_size_px: int, overlap_px: int) -> None:
    if size_px < 1 or overlap_px < 0:
        raise ConfigError(
            f"tiles: found a volume of {size_px} px and an overlap of {overlap_px} px, expected "
            "a volume of 1 or more and an overlap of 0 or more"
        )
    if cube_size_px < max(1, 2 * overlap_px):
        raise ConfigError(
            f"cube size: found {cube_size_px} px, expected at least {max(1, 2 * overlap_px)} "
            f"(twice the overlap of {overlap_px} px); enlarge it"
        )
    if tile_size_px < cube_size_px + 2 * overlap_px:
        raise ConfigError(
            f"tile size: found {tile_size_px} px, expected at least "
            f"{cube_size_px + 2 * overlap_px} (cube size {cube_size_px} + {2 * overlap_px}); "
            "enlarge it"
        )
