"""The two pickers that a learned one has to beat: blobs, and the true structure as template."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cryodl.core.evaluation.matching import score_points
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations, rotate_volume

Found = tuple[NDArray[np.float64], NDArray[np.float64]]


def difference_of_gaussians(density: NDArray[np.float32], diameter_px: float) -> Found:
    """Return blobs of a diameter, best first, as points (x, y, z) and scores; matter is bright."""
    sigma = diameter_px / 2 / 3**0.5  # a ball's own deviation along an axis is radius / sqrt(5)
    clipped = np.clip(density, *np.percentile(density, (0.05, 99.95)))
    response = ndimage.gaussian_filter(clipped, sigma) - ndimage.gaussian_filter(
        clipped, 1.6 * sigma
    )
    return _maxima(response, diameter_px)


def match_template(
    density: NDArray[np.float32],
    reference: NDArray[np.float32],
    diameter_px: float,
    tilts_degrees: tuple[float, float],
    rotations: int = 300,
) -> Found:
    """Return maxima of the local correlation with a template in many orientations.

    The template is turned, its wedge removed, and its mean within the particle taken off; the
    correlation is divided by the local deviation of the tomogram.
    """
    edge = 2 * round(0.75 * diameter_px)
    reference = _cropped(reference, edge)
    wedge = fft.ifftshift(missing_wedge(edge, *tilts_degrees))
    inside = _ball(edge, diameter_px / 2)
    volume = (density - density.mean()).astype(np.float32)
    spectrum = fft.rfftn(volume)
    deviation = np.sqrt(np.maximum(_convolved(fft.rfftn(volume**2), inside, volume.shape), 1e-6))
    best = np.full(volume.shape, -np.inf, dtype=np.float32)
    for rotation in random_rotations(rotations, np.random.default_rng(0)):
        turned = rotate_volume(reference, rotation, order=1)
        seen = fft.ifftn(fft.fftn(turned) * wedge).real
        seen = np.where(inside, seen - seen[inside].mean(), 0)
        seen /= np.sqrt((seen**2).sum())
        np.maximum(best, _convolved(spectrum, seen, volume.shape) / deviation, out=best)
    return _maxima(best, diameter_px)


def best_f1(cases: list[tuple], radius_px: float) -> dict[str, float]:
    """Return the best F1 over all thresholds, the same for all tomograms."""
    levels = np.quantile(np.concatenate([scores for _, scores, _ in cases]), np.linspace(0, 1, 200))
    best = {"f1": 0.0}
    for level in levels:
        scored = [score_points(p[s >= level], truth, radius_px) for p, s, truth in cases]
        found = sum(s.found for s in scored)
        extra, missed = sum(s.extra for s in scored), sum(s.missed for s in scored)
        f1 = 2 * found / max(1, 2 * found + extra + missed)
        if f1 > best["f1"]:
            precision, recall = found / max(1, found + extra), found / max(1, found + missed)
            error = float(np.nanmean([s.mean_error_px for s in scored]))
            best = {"f1": f1, "precision": precision, "recall": recall, "mean_error_px": error}
    return best


def _maxima(response: NDArray[np.float32], diameter_px: float) -> Found:
    size = max(3, round(0.6 * diameter_px)) | 1
    top = (response == ndimage.maximum_filter(response, size)) & np.isfinite(response)
    points = np.argwhere(top)
    scores = response[top].astype(np.float64)
    order = np.argsort(-scores)[:2000]
    return points[order][:, ::-1].astype(np.float64), scores[order]


def _convolved(
    spectrum: NDArray[np.complex64], kernel: NDArray, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the correlation of a volume with a small kernel whose centre is at n // 2."""
    padded = np.zeros(shape, dtype=np.float32)
    n = len(kernel)
    padded[:n, :n, :n] = kernel
    padded = np.roll(padded, (-(n // 2),) * 3, axis=(0, 1, 2))
    found: NDArray[np.float32] = fft.irfftn(spectrum * fft.rfftn(padded).conj(), shape)
    return found


def _ball(n: int, radius_px: float) -> NDArray[np.bool_]:
    z, y, x = np.indices((n, n, n)) - n // 2
    found: NDArray[np.bool_] = z**2 + y**2 + x**2 <= radius_px**2
    return found


def _cropped(volume: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    m = len(volume)
    if m < n:
        before = n // 2 - m // 2
        return np.pad(volume, (before, n - m - before))
    start = m // 2 - n // 2
    return volume[start : start + n, start : start + n, start : start + n]
