"""Curves of resolution: FSC of two maps, and of the directions of a 3DFSC volume."""

import math

import numpy as np

from cryodl_plugin.constants import FSC_THRESHOLD, MEAN_COSINE_THRESHOLD

_SPREAD = 1000
_SMOOTHING_DEGREES = 10.0
_SMOOTHING_SHELLS = 1.5


def fourierShellCorrelation(first, second):
    """Return the FSC of two maps by shell of rounded radius, from 0 to half the box.

    Parameters
    ----------
    first, second : numpy.ndarray
        ``(n, n, n)``; multiply by a mask before where one is wanted.

    Returns
    -------
    numpy.ndarray
        ``(n // 2 + 1,)``; 1 at zero frequency, 0 where a map has no power.
    """
    from scipy import fft

    n = first.shape[0]
    along = np.abs(np.fft.fftfreq(n)) * n
    half = np.arange(n // 2 + 1)
    radius = np.sqrt(along[:, None, None] ** 2 + along[:, None] ** 2 + half**2)
    shell = np.rint(radius).astype(np.intp).ravel()
    # Each voxel of the half transform stands for its Friedel mate too, but for the end planes.
    twice = np.full(n // 2 + 1, 2.0)
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    count = np.broadcast_to(twice, radius.shape).ravel()
    one, two = fft.rfftn(first).ravel(), fft.rfftn(second).ravel()

    def total(values):
        return np.bincount(shell, weights=values * count, minlength=n)[: n // 2 + 1]

    cross = total((one * two.conj()).real)
    power = np.sqrt(total(np.abs(one) ** 2) * total(np.abs(two) ** 2))
    curve = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    curve[0] = 1
    return curve


def frequencies(nShells, boxSize, pixelSize):
    """Return the spatial frequency of each shell in 1/Å."""
    return np.arange(nShells) / (boxSize * pixelSize)


def resolutionAt(frequency, curve, threshold=FSC_THRESHOLD):
    """Return the resolution in Å where a curve first falls below a threshold, interpolated.

    A curve that never falls gives the resolution of its last point.
    """
    below = np.flatnonzero(np.asarray(curve)[1:] < threshold) + 1
    if len(below) == 0:
        return 1 / float(frequency[-1])
    last = below[0]
    high, low = curve[last - 1], curve[last]
    part = (high - threshold) / (high - low) if high > low else 0.0
    part = min(max(part, 0.0), 1.0)
    at = frequency[last - 1] + part * (frequency[last] - frequency[last - 1])
    return 1 / float(at if at > 0 else frequency[last])


def hemisphere(number):
    """Return `number` unit vectors (x, y, z), z >= 0, evenly spread (golden spiral)."""
    index = np.arange(number) + 0.5
    z = 1 - index / number
    around = math.pi * (1 + math.sqrt(5)) * index
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(around), across * np.sin(around), z], axis=1)


def directionalCurves(volume, directions):
    """Return the profile of a 3DFSC along each direction.

    A single direction of a 3DFSC is noisy, so each profile is averaged with its neighbours, by a
    Gaussian of 10 degrees across directions and 1.5 shells along the radius, as the engine does
    for the sphericity.

    Parameters
    ----------
    volume : numpy.ndarray
        ``(n, n, n)`` [z, y, x], zero frequency at ``n // 2``, 0 beyond its resolution limit.
    directions : numpy.ndarray
        ``(d, 3)`` unit vectors (x, y, z).

    Returns
    -------
    numpy.ndarray
        ``(d, shells)``, one value per shell from 0 to the last that holds data.
    """
    from scipy.ndimage import gaussian_filter1d

    spread = hemisphere(_SPREAD)
    profiles = _profiles(volume, spread)
    # A direction and its opposite are the same in Fourier space of a real map: hence abs.
    closeness = np.abs(np.asarray(directions) @ spread.T)
    kernel = np.exp((closeness - 1) / np.radians(_SMOOTHING_DEGREES) ** 2)
    smooth = kernel @ profiles / kernel.sum(axis=1, keepdims=True)
    smooth = gaussian_filter1d(smooth, _SMOOTHING_SHELLS, axis=1, mode="nearest")
    return np.concatenate([np.ones((len(smooth), 1)), smooth], axis=1)


def _profiles(volume, directions):
    """Sample shells 1 to the last with data along directions: ``(d, shells)``."""
    from scipy.ndimage import map_coordinates

    middle = volume.shape[0] // 2
    shells = max(int(np.flatnonzero(line)[-1]) if line.any() else 1 for line in _halfAxes(volume))
    shells = max(shells, 1)
    steps = np.arange(1, shells + 1)
    points = directions[:, None, ::-1] * steps[None, :, None] + middle  # (d, shells, zyx)
    curves = map_coordinates(volume, points.reshape(-1, 3).T, order=1, mode="nearest")
    curves = curves.reshape(len(directions), len(steps))
    # Interpolation mixes the zeros beyond the limit into the last shell: it is only counted where
    # there is data.
    inside = map_coordinates(
        (volume != 0).astype(np.float32), points.reshape(-1, 3).T, order=1, mode="nearest"
    ).reshape(curves.shape)
    return np.divide(curves, inside, out=np.zeros_like(curves), where=inside > 0)


def _halfAxes(volume):
    middle = volume.shape[0] // 2
    return [
        volume[middle, middle, middle:],
        volume[middle, middle:, middle],
        volume[middle:, middle, middle],
    ]


def directionalResolutions(curves, boxSize, pixelSize, threshold=MEAN_COSINE_THRESHOLD):
    """Return the resolution in Å of each directional curve."""
    frequency = frequencies(curves.shape[1], boxSize, pixelSize)
    return np.array([resolutionAt(frequency, curve, threshold) for curve in curves])


def makeFsc(label, frequency, curve):
    """Return Scipion's FSC object of a curve; its first point is 1, as its viewers need."""
    from pwem.objects import FSC

    values = np.nan_to_num(np.asarray(curve, dtype=float))
    values[0] = 1.0
    fsc = FSC(objLabel=label)
    fsc.setData([float(f) for f in frequency], [float(v) for v in values])
    return fsc


def readFscs(fscs):
    """Return the curves of a SetOfFSCs: label -> (frequency in 1/Å, values), as arrays."""
    # A set hands out one and the same object for each item, so the numbers are copied here.
    return {
        fsc.getObjLabel() or "FSC": tuple(
            np.array([float(v) for v in values]) for values in fsc.getData()
        )
        for fsc in fscs
    }
