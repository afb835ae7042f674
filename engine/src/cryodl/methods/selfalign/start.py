"""A first reference from the particles themselves: the one that most others agree with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cryodl.core.alignment.aligner import Aligner, Alignment
from cryodl.core.alignment.reference import ParticleReference
from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.alignment.spectra import FourierPoints, observe, spectral_power, spectral_snr
from cryodl.errors import InputError
from cryodl.methods.selfalign.inputs import CheckedParticles

_ROTATIONS = 1728
_JUDGES = 12


def start_from_particles(
    checked: CheckedParticles,
    members: NDArray[np.integer],
    settings: SearchSettings,
    seed: int,
    templates: int,
    most: int,
    tell: Callable[[float], None],
) -> tuple[NDArray[np.integer], Alignment]:
    """Align some particles of one half set to one of them.

    Of a few candidates the template is taken to which the others fit best, by the likelihood that
    they show the same object.

    Parameters
    ----------
    checked : CheckedParticles
        All particles.
    members : (m,) array
        Numbers of those of the half set.
    settings : SearchSettings
        Of the search.
    seed : int
        Of the choice.
    templates, most : int
        How many templates are tried, and how many particles are aligned to the best.
    tell : callable
        Told the fraction that is done.

    Returns
    -------
    ndarray, Alignment
        Numbers of the particles, and their poses against the template.

    Raises
    ------
    InputError
        Particles multiplied by their CTF, for which pairs cannot be compared.
    """
    if checked.volumes.premultiplied:
        raise InputError(
            "--reference: found none, expected one for stacks of tilt images and particles "
            "multiplied by their CTF; give a map, or poses and --mode refine"
        )
    order = np.random.default_rng(seed).permutation(members)
    tried = order[:templates]
    judged = order[templates : templates + _JUDGES]
    if len(judged) == 0:
        raise InputError(
            f"half set: {len(members)} particles, expected more than {templates} to start from; "
            "give a reference, or a smaller --start-templates"
        )
    rest = order[templates + _JUDGES :][: max(0, most - len(tried) - len(judged))]
    pairs = _Pairs(checked, members, settings)
    total = len(tried) * len(judged) + len(rest) + len(tried)
    done = 0
    found: list[Alignment] = []
    for template in tried:
        found.append(pairs.align(template, judged))
        done += len(judged)
        tell(done / total)
    best = int(np.argmax([np.mean(np.maximum(one.score, 0)) for one in found]))
    others = np.concatenate([np.delete(tried, best), rest])
    parts = [pairs.align(tried[best], others)] if len(others) else []
    tell(1.0)
    chosen = np.concatenate([[tried[best]], judged, others])
    upright = replace(
        found[best],
        **{name: value[:1].copy() for name, value in vars(found[best]).items()},
    )
    upright.rotations[:], upright.shifts_px[:] = np.eye(3), 0
    upright.score[:] = np.inf
    return chosen, Alignment.joined([upright, found[best], *parts])


class _Pairs:
    """Aligns particles to one of them."""

    def __init__(
        self, checked: CheckedParticles, members: NDArray[np.integer], settings: SearchSettings
    ) -> None:
        n = checked.particles.box_size_px
        self._checked = checked
        # Pairs tell little beyond; half the band is a quarter of the time.
        self._points = FourierPoints(n, max(6, min((n - 1) // 2, round(0.36 * n))))
        self._settings = replace(settings, rotations=_ROTATIONS, candidates=6)
        volumes, transfers = checked.read(members[:32])
        self._power = spectral_power(self._points, volumes, transfers)
        self._snr = spectral_snr(self._points, volumes, transfers)

    def align(self, template: int, others: NDArray[np.integer]) -> Alignment:
        volumes, transfers = self._checked.read(np.array([template]))
        wedge = None if transfers is None else transfers.reshape(-1, *volumes.shape[1:])[0]
        reference = ParticleReference(volumes[0], wedge, self._points, self._snr, power=self._power)
        aligner = Aligner(reference, self._settings, is_likelihood=True)
        parts = []
        for start in range(0, len(others), 8):
            volumes, transfers = self._checked.read(others[start : start + 8])
            seen = observe(self._points, volumes, transfers, power=self._power)
            parts.append(aligner.align(seen, "exhaustive"))
        return Alignment.joined(parts)
