"""How thoroughly poses are searched."""

from __future__ import annotations

from dataclasses import dataclass

from cryodl.errors import ConfigError


@dataclass(frozen=True)
class SearchSettings:
    """How poses are searched.

    Attributes
    ----------
    symmetry : str
        Point group of the reference.
    rotations : int
        Of the exhaustive search, over all of SO(3).
    max_shift_px : float
        From the centre of the box, or from the poses at hand.
    coarse_shell : int
        Band of the exhaustive search in px of Fourier space: 8 is what a box of 16 px holds.
    candidates : int
        Of the exhaustive search, which are all scored about their place in the whole band.
    auto_rotations, auto_shell, auto_candidates
        The same for the search from coarse to fine; the best of its candidates reaches the
        whole band. For a reference that has little to show in the band of `auto_shell` it is
        done in that of `coarse_shell` with twice as much of both.
    local_degrees : float
        Largest step of the search about poses at hand.
    finest_degrees : float
        Smallest step; the result is interpolated between steps.
    is_thorough : bool
        The exhaustive search keeps six times as many candidates of the grid, and those that lie
        near each other as well: for scores as rugged as those of two noisy particles.
    """

    symmetry: str = "C1"
    rotations: int = 4608
    max_shift_px: float = 4.0
    coarse_shell: int = 8
    candidates: int = 8
    auto_rotations: int = 2304
    auto_shell: int = 6
    auto_candidates: int = 16
    local_degrees: float = 6.0
    finest_degrees: float = 1.5
    is_thorough: bool = False

    def __post_init__(self) -> None:
        least = min(self.rotations, self.candidates, self.coarse_shell, self.auto_candidates)
        if least < 1 or self.max_shift_px < 0 or not self.finest_degrees > 0:
            raise ConfigError(
                f"search: found {self.rotations} rotations, {self.candidates} candidates, shell "
                f"{self.coarse_shell}, shifts to {self.max_shift_px} px; expected positive numbers"
            )
