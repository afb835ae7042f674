"""Whether the mirror image of a reference fits the particles better than the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.core.alignment.aligner import Aligner
from cryodl.core.alignment.reference import MapReference
from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.alignment.spectra import FourierPoints, Observations, observe
from cryodl.core.run.folder import RunFolder
from cryodl.methods.selfalign.inputs import CheckedParticles

Map = NDArray[np.float32]
_SAMPLE, _FEWEST = 24, 8
# In units of the noise, and in deviations of the mean difference.
_LEAST_GAIN, _LEAST_DEVIATIONS = 0.5, 3.0


@dataclass(frozen=True)
class HandCheck:
    """Mean scores of a sample against the reference and against its mirror image."""

    score: float
    mirrored_score: float
    deviations: float

    @property
    def is_mirrored(self) -> bool:
        """True where the mirror image clearly fits better."""
        gain = self.mirrored_score - self.score
        return gain > _LEAST_GAIN and self.deviations > _LEAST_DEVIATIONS


def mirrored(volume: Map) -> Map:
    """Return the mirror image along z about the centre voxel."""
    n = volume.shape[0]
    # The first plane of an even box has no partner.
    return np.ascontiguousarray(np.roll(volume[::-1], 1 - n % 2, axis=0))


def check_hand(
    seen: Observations, reference: Map, mask: Map | None, points: FourierPoints, symmetry: str,
    max_shift_px: float,
) -> HandCheck:  # fmt: skip
    """Align particles to a reference and to its mirror image.

    Parameters
    ----------
    seen : Observations
        A sample.
    reference, mask : (n, n, n) array
        As particles are aligned to.
    points : FourierPoints
        Of the observations.
    symmetry : str
        Of the reference; the mirror image has it as well, of the other hand.
    max_shift_px : float
        Of the search.
    """
    settings = SearchSettings(symmetry=symmetry, max_shift_px=max_shift_px)
    other = None if mask is None else mirrored(mask)
    own, turned = (
        Aligner(MapReference(density, points, region), settings).align(seen, "auto").score
        for density, region in ((reference, mask), (mirrored(reference), other))
    )
    gain = turned - own
    error = gain.std() / np.sqrt(len(gain))
    deviations = float(gain.mean() / max(error, 1e-9))
    return HandCheck(float(own.mean()), float(turned.mean()), deviations)


def warn_of_hand(
    checked: CheckedParticles,
    reference: Map,
    mask: Map | None,
    points: FourierPoints,
    power: NDArray[np.float32],
    settings: SearchSettings,
    run: RunFolder,
) -> None:
    """Tell when a sample of the particles fits the mirror image of the reference better."""
    count = len(checked.particles)
    if count < _FEWEST:
        return
    chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int))
    volumes, transfers = checked.read(chosen)
    multiplied = checked.volumes.premultiplied
    seen = observe(points, volumes, transfers, premultiplied=multiplied, power=power)
    found = check_hand(seen, reference, mask, points, settings.symmetry, settings.max_shift_px)
    run.add_value("mirror_image_fits_better", found.is_mirrored)
    if not found.is_mirrored:
        return
    words = (
        f"the mirror image of the reference fits better: mean score {found.mirrored_score:.1f} "
        f"against {found.score:.1f} of {len(chosen)} particles; reference or tilts have the "
        "other hand"
    )
    run.log(f"warning: {words}")
    run.report.distrust(f"{words[:1].upper()}{words[1:]}. Mirror the reference and align again.")
