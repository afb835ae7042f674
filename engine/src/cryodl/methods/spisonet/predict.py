"""From a trained network to corrected half maps: predict, blend by what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from cryodl.core.geometry.resample import centred_to_rfft
from cryodl.core.training.seeds import numpy_generator
from cryodl.core.volumes.tiles import predict_tiled, predict_whole
from cryodl.methods.spisonet.blend import Calibration, Moments
from cryodl.methods.spisonet.problem import Problem, Volume

_CALIBRATION_STREAM = 3
_CALIBRATION_ROTATIONS = 4
_MAX_POWER_GAIN = 4.0
_TRUSTED = 0.2
_MULTIPLE = 8  # the U-Net halves an edge three times
_WHOLE_UP_TO_PX = 128  # tiles of a small box overlap so much that they cost ten times as much
CLASSICAL = (0,)
WITH_NETWORK = (0, 1)


class Corrector:
    """Applies a trained network to the half maps of a problem.

    Parameters
    ----------
    problem : Problem
        Half maps on the network's device.
    network : nn.Module or None
        None leaves the classical filling alone.
    cube_size_px, tile_size_px, batch_size : int
        Tiling, see `cryodl.core.volumes.tiles`.
    """

    def __init__(
        self,
        problem: Problem,
        network: nn.Module | None,
        *,
        cube_size_px: int,
        tile_size_px: int,
        batch_size: int = 1,
    ) -> None:
        self.problem = problem
        self._network = network
        self._tiling: dict[str, Any] = {
            "cube_size_px": cube_size_px,
            "tile_size_px": tile_size_px,
            "batch_size": batch_size,
        }
        self._of_half: dict[int, list[Tensor]] = {}

    def predict(self, volume: Tensor) -> Tensor:
        """Apply the network to a map in tiles, (n, n, n); without one return the map."""
        if self._network is None:
            return volume
        device = self.problem.device
        if self.problem.n <= _WHOLE_UP_TO_PX:
            whole = predict_whole(self._network, volume, multiple=_MULTIPLE, device=device)
            return whole.to(device)
        return predict_tiled(self._network, volume, device=device, **self._tiling).to(device)

    def _estimates(self, filled: Tensor, data: Tensor) -> list[Tensor]:
        return [torch.fft.rfftn(filled), torch.fft.rfftn(self.predict(filled)), data]

    def _estimates_of_half(self, half: int) -> list[Tensor]:
        if half not in self._of_half:
            data = self.problem.weight * self.problem.spectra[half]
            self._of_half[half] = self._estimates(self.problem.estimates[half], data)
        return self._of_half[half]

    def calibrate(self, seed: int, progress: Callable[[float], None]) -> Calibration:
        """Measure by shell how well rotated, degraded data are predicted.

        Missing directions are judged by simulated acquisitions that were never trained on;
        measured ones by the other half map or, when there is one half only, by the simulations.
        """
        problem = self.problem
        missing, measured = Moments(problem), Moments(problem)
        two = len(problem.halves) == 2
        for number in range(_CALIBRATION_ROTATIONS):
            generator = numpy_generator(seed, _CALIBRATION_STREAM, number)
            simulation = problem.simulate(number % len(problem.halves), generator)
            image = torch.fft.rfftn(simulation.image)
            estimates = self._estimates(simulation.image, image * problem.weight)
            target = torch.fft.rfftn(simulation.target)
            weight = centred_to_rfft(simulation.weight)
            missing.add(estimates, target, weight * (1 - problem.coverage) ** 2)
            if not two:
                measured.add(estimates, target, weight * problem.coverage)
            progress((number + 1) / _CALIBRATION_ROTATIONS)
        if two:
            for half, other in ((0, 1), (1, 0)):
                estimates = self._estimates_of_half(half)
                measured.add(estimates, problem.spectra[other], problem.weight * problem.coverage)
        learned = CLASSICAL if self._network is None else WITH_NETWORK
        return Calibration(
            missing.solve(learned), measured.solve((*learned, 2) if two else learned)
        )

    def correct(self, half: int, calibration: Calibration, *, restore: float = 0.5) -> Volume:
        """Return a corrected half map on the grey scale of its input.

        Parameters
        ----------
        half : int
            Which of the problem's half maps.
        calibration : Calibration
            From `calibrate`.
        restore : float
            Power of the missing directions, as a share of that of measured ones, up to which the
            prediction, weak because it is cautious, is scaled. Directions that could not be
            predicted in the calibration are not scaled. 0 = off.

        Returns
        -------
        np.ndarray
            (n, n, n) float32.
        """
        problem = self.problem
        estimates = self._estimates_of_half(half)
        missing = self._mix(estimates, calibration.missing.coefficients)
        measured = self._mix(estimates, calibration.measured.coefficients)
        result = (1 - problem.coverage) * missing + problem.coverage * measured
        if restore > 0:
            gain = self._restoration(result, calibration.missing.explained, restore)
            result = result * (1 + (1 - problem.coverage) * (gain[problem.shell] - 1))
        result = torch.where(problem.shell >= problem.n // 2, torch.zeros_like(result), result)
        volume = torch.fft.irfftn(result, s=(problem.n,) * 3).cpu().numpy()
        scale = problem.scales[half]
        return np.asarray(volume * scale.deviation + scale.level, dtype=np.float32)

    def _mix(self, estimates: list[Tensor], coefficients: NDArray[np.float64]) -> Tensor:
        table = self.problem.tensor(coefficients.astype(np.float32))
        shell = self.problem.shell
        parts = [row[shell] * estimate for row, estimate in zip(table, estimates)]
        return parts[0] + parts[1] + parts[2]

    def _restoration(
        self, result: Tensor, explained: NDArray[np.float64], restore: float
    ) -> Tensor:
        """Return the amplitude gain by shell of missing directions, (n//2 + 1,)."""
        problem = self.problem
        moments = Moments(problem)
        power = result.real**2 + result.imag**2
        covered, open_ = problem.coverage**2, (1 - problem.coverage) ** 2
        sums = [
            ndimage.gaussian_filter1d(moments.sum_by_shell(values), 1.0, mode="nearest")
            for values in (covered * power, covered, open_ * power, open_)
        ]
        wanted = restore * sums[0] / np.maximum(sums[1], 1e-9)
        present = sums[2] / np.maximum(sums[3], 1e-9)
        gain2 = np.clip(wanted / np.maximum(present, 1e-12 + 1e-6 * wanted), 1.0, _MAX_POWER_GAIN)
        # Nothing predicted, nothing amplified.
        trust = np.clip(explained / _TRUSTED, 0.0, 1.0)
        return problem.tensor(np.sqrt(1 + trust * (gain2 - 1)).astype(np.float32))
