"""Half maps made ready: grey scale, directional weights, first estimates, simulated acquisitions.

The idea behind the default method. A map rotated by R was measured in the directions R W. Imposing
the missing directions W on it once more gives an input whose answer is known: wherever R W was
measured. So a network can be taught, from the first step on, to fill what W lacks, with nothing
but the half maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cryodl.core.fourier.transform import power_spectrum
from cryodl.core.geometry.resample import (
    centred_to_rfft,
    rotate_fourier_weight,
    rotate_spline,
    spline_coefficients,
)
from cryodl.core.geometry.rotations import random_rotations
from cryodl.errors import InputError
from cryodl.methods.spisonet.constraints import fill_missing
from cryodl.methods.spisonet.equalise import apply_gain, directional_gain
from cryodl.methods.spisonet.snr import SnrModel, snr_model

Volume = NDArray[np.float32]

_POWER_FLOOR = 1e-4
_SOLVENT = 0.01


@dataclass(frozen=True)
class Scale:
    """Grey scale of a half map: ``raw = value * deviation + level``."""

    level: float
    deviation: float


@dataclass(frozen=True)
class Simulation:
    """One rotated map with the acquisition imposed on it in the frame of the data.

    Attributes
    ----------
    image : Tensor
        (n, n, n): degraded and classically filled, what the network is given.
    target : Tensor
        (n, n, n): the rotated half map, noise included.
    weight : Tensor
        (n, n, n), centred: where, and how well, the target was measured.
    mask : Tensor
        (n, n, n): the rotated solvent mask.
    rotation : np.ndarray
        (3, 3), acting on (x, y, z).
    """

    image: Tensor
    target: Tensor
    weight: Tensor
    mask: Tensor
    rotation: NDArray[np.float64]


class Problem:
    """Half maps, weights and first estimates on one device.

    Parameters
    ----------
    halves : sequence of np.ndarray
        (n, n, n) each: two half maps, or one, when nothing of the other may be seen.
    fsc3d : np.ndarray
        (n, n, n), centred.
    mask : np.ndarray
        (n, n, n), solvent mask in [0, 1].
    fill_iterations : int
        Alternating projections of the real and of every simulated map.
    mean_cosine : bool
        Whether `fsc3d` holds mean cosines, see `snr_model`.
    device
        Where everything is kept.
    """

    def __init__(
        self,
        halves: Sequence[NDArray[np.floating]],
        fsc3d: NDArray[np.floating],
        mask: NDArray[np.floating],
        *,
        fill_iterations: int = 20,
        mean_cosine: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        self.n = n = int(halves[0].shape[0])
        self.device = torch.device(device)
        self.fill_iterations = fill_iterations
        self.snr: SnrModel = snr_model(fsc3d, mean_cosine=mean_cosine)
        normalised = [normalise(half, mask) for half in halves]
        self.scales: list[Scale] = [scale for _, scale in normalised]
        maps = [values for values, _ in normalised]
        self.power = signal_power(maps, self.snr)
        gain = directional_gain(maps, self.snr, self.power)
        self.halves = [self.tensor(apply_gain(values, gain)) for values in maps]
        self.mask = self.tensor(np.asarray(mask, dtype=np.float32))
        self.rho = self.tensor(self.snr.rho)
        self.weight = centred_to_rfft(self.rho)
        self.coverage = centred_to_rfft(self.tensor(self.snr.coverage))
        self.shell = centred_to_rfft(self.tensor(np.minimum(self.snr.shell, n // 2)))
        per_voxel = self.tensor(self.power.astype(np.float32))[self.shell]
        # Noise left in weight * F by the Wiener filter: rho^2 N with N = P (1 - rho) / rho.
        self.noise = torch.sqrt(self.weight * (1 - self.weight) * per_voxel)
        self.spectra = [torch.fft.rfftn(half) for half in self.halves]
        self.estimates = [self._filled(spectrum) for spectrum in self.spectra]

    def tensor(self, array: NDArray) -> Tensor:
        """Return an array as a tensor on the device."""
        return torch.as_tensor(np.ascontiguousarray(array), device=self.device)

    def _filled(self, spectrum: Tensor) -> Tensor:
        """Return a classically filled half map, (n, n, n), solvent at zero."""
        data = self.weight * spectrum
        return fill_missing(data, self.weight, self.mask, iterations=self.fill_iterations)

    def simulate(self, half: int, generator: np.random.Generator) -> Simulation:
        """Rotate the estimate of a half map at random and impose the acquisition again.

        The target is the other half map. With one half map it is the same one: in the missing
        directions the image holds nothing of its noise, so that filling is still learned from
        data measured in other directions.
        """
        n = self.n
        rotation = random_rotations(1, generator)[0]
        noise = self.tensor(generator.standard_normal((n, n, n), dtype=np.float32))
        # Splines are made each time: two transforms beside the forty of the filling, where to keep
        # them would take as much memory as five maps.
        target, mask = (
            rotate_spline(spline_coefficients(volume), rotation)
            for volume in (self.halves[len(self.halves) - 1 - half], self.mask)
        )
        mask = mask.clamp(0.0, 1.0)
        estimate = rotate_spline(spline_coefficients(self.estimates[half]), rotation)
        weight = rotate_fourier_weight(self.rho, rotation).clamp(max=1.0)
        data = self.weight * torch.fft.rfftn(estimate)
        data = data + self.noise * torch.fft.rfftn(noise) / n**1.5
        image = fill_missing(data, self.weight, mask, iterations=self.fill_iterations)
        return Simulation(image, target, weight, mask, rotation)


def normalise(half: NDArray[np.floating], mask: NDArray[np.floating]) -> tuple[Volume, Scale]:
    """Put the solvent at 0 and the standard deviation of the masked map at 1.

    Raises
    ------
    InputError
        The map is constant inside the mask.
    """
    values = np.asarray(half, dtype=np.float32)
    solvent = mask < _SOLVENT
    level = float(values[solvent].mean()) if solvent.any() else float(np.median(values))
    deviation = float(((values - level) * mask).std())
    if not (np.isfinite(deviation) and deviation > 0):
        raise InputError(
            "half map: found no variation inside the mask, expected density; give another mask"
        )
    return (values - level) / deviation, Scale(level, deviation)


def signal_power(halves: Sequence[Volume], snr: SnrModel) -> NDArray[np.float64]:
    """Return the mean signal power by shell, ``rho |F|^2`` where it was measured.

    Returns
    -------
    np.ndarray
        (n//2 + 1,): power of ``fftn`` coefficients; the last entry holds all beyond.
    """
    n = snr.rho.shape[0]
    top = n // 2
    shell, rho = np.minimum(snr.shell, top).ravel(), snr.rho.ravel()
    power = power_spectrum(halves).ravel() / len(halves)
    weighted = np.bincount(shell, rho**3 * power, top + 1)
    result = weighted / np.maximum(np.bincount(shell, rho**2, top + 1), 1e-9)
    result[top] = result[top - 1]
    result = np.maximum(result, _POWER_FLOOR * result[1:].max())
    result[0] = result[1]
    smooth: NDArray[np.float64] = ndimage.gaussian_filter1d(result, 1.0)
    return smooth
