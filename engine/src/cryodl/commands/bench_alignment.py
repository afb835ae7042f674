"""The search of the pose of a subtomogram, timed for ``cryodl bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from cryodl.core.benchmark.clock import Clock

_BOX_PX = 32
_MAX_SHIFT_PX = 4
_PARTICLES = {"tiny": 1, "small": 8, "large": 64}
_ROTATIONS = {"tiny": 72, "small": 4608, "large": 4608}
_PLAIN_ROTATIONS = 24  # so many are timed, and counted up


def measure_alignment(clock: Clock, scale: str, repeats: int) -> dict[str, Any]:
    """Time the exhaustive search against a map, with the wedge of the particles.

    The plain way turns the map, transforms it and correlates it with the particle, one rotation of
    the grid after the other; it has no finer search, which ours includes.
    """
    from cryodl.core.alignment.aligner import Aligner
    from cryodl.core.alignment.reference import MapReference
    from cryodl.core.alignment.rotation_grid import even_rotations
    from cryodl.core.alignment.settings import SearchSettings
    from cryodl.core.alignment.spectra import FourierPoints, observe
    from cryodl.core.benchmark.clock import host_memory_gib
    from cryodl.core.benchmark.shares import LOOK_UP, PRODUCT, TRANSFORM, time_shares
    from cryodl.core.fourier.wedge import missing_wedge
    from cryodl.core.simulation.densities import load_density

    count, rotations = _PARTICLES[scale], _ROTATIONS[scale]
    reference, _ = load_density("groel_groes", _BOX_PX)
    generator = np.random.default_rng(0)
    shape = (count, *reference.shape)
    noise = generator.standard_normal(shape, dtype=np.float32)
    volumes = reference + 2 * np.float32(reference.std()) * noise
    wedge = missing_wedge(_BOX_PX, -60, 60)
    points = FourierPoints(_BOX_PX, _BOX_PX // 2 - 2, str(clock.device))
    settings = SearchSettings(rotations=rotations, max_shift_px=float(_MAX_SHIFT_PX))
    aligner = Aligner(MapReference(reference, points), settings)

    def search() -> None:
        aligner.align(observe(points, volumes, wedge))

    seconds = clock.best(search, repeats)
    shares = time_shares(search, clock)
    grid = even_rotations(rotations, "C1")[:_PLAIN_ROTATIONS]
    plain = clock.best(lambda: _plain(clock, reference, volumes[0], wedge, grid), repeats)
    return {
        "what": f"{count} x {_BOX_PX}³, {rotations} rotations",
        "particles": count,
        "particle_seconds": seconds / count,
        "plain_seconds": plain * rotations / len(grid),
        "shares": shares,
        "kernel_share": shares[PRODUCT] + shares[TRANSFORM] + shares[LOOK_UP],
        "host_gib": host_memory_gib(),
    }


def _plain(
    clock: Clock,
    reference: np.ndarray,
    volume: np.ndarray,
    wedge: np.ndarray,
    rotations: np.ndarray,
) -> list[float]:
    """Return the best correlation over shifts for each rotation, one after the other."""
    import torch
    from torch.nn import functional

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float32), device=clock.device)

    n = len(reference)
    density, weight = tensor(reference), torch.fft.ifftshift(tensor(wedge))[..., : n // 2 + 1]
    data = torch.fft.rfftn(tensor(volume)) * weight
    best = []
    for rotation in rotations:
        matrix = torch.cat([tensor(rotation.T), torch.zeros(3, 1, device=clock.device)], dim=1)
        grid = functional.affine_grid(matrix[None], [1, 1, n, n, n], align_corners=False)
        turned = functional.grid_sample(density[None, None], grid, align_corners=False)[0, 0]
        seen = torch.fft.rfftn(turned) * weight
        norm = (seen.real.square() + seen.imag.square()).sum().sqrt()
        map_of_shifts = torch.fft.fftshift(torch.fft.irfftn(data * seen.conj(), s=(n, n, n)))
        inside = slice(n // 2 - _MAX_SHIFT_PX, n // 2 + _MAX_SHIFT_PX + 1)
        best.append(float(map_of_shifts[inside, inside, inside].amax() / norm))
    return best
