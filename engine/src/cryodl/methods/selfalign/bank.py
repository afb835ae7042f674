"""A network that begins as the exhaustive search it replaces, and learns to beat it.

Its weights are one template for each rotation of a grid, at first the reference in that rotation
as the wedge shows it: the answer of a fresh network is the constrained correlation, the best over
shifts. Training makes the templates tell the rotations apart in the noise and wedge of the data. A
convolutional network that starts from nothing needs many thousands of steps to know all rotations
of one particle; this one needs none to begin with.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cryodl.core.alignment.reference import TransformLookup
from cryodl.core.alignment.rotation_grid import ball
from cryodl.core.alignment.spectra import FourierPoints

_FIRST_GAIN = 1.0
_STEP_PX = 1.0


class TemplateBank(nn.Module):
    """Likelihoods of the rotations of a grid, for one particle.

    Parameters
    ----------
    box_px : int
        Of the boxes it looks at.
    max_shell : int
        Band, in Fourier pixels.
    tmax_px : float
        Largest shift, in pixels of that box.
    outputs : int
        Rotations of the grid.
    """

    phases: Tensor

    def __init__(self, box_px: int, max_shell: int, tmax_px: float, outputs: int) -> None:
        super().__init__()
        self.box_px, self.max_shell, self.tmax_px = box_px, max_shell, tmax_px
        points = FourierPoints(box_px, max_shell)
        shifts = torch.as_tensor(ball(tmax_px, _STEP_PX)).float()
        self.register_buffer("phases", as_real(points.phases(shifts).conj()), persistent=False)
        self.templates = nn.Parameter(torch.zeros(outputs, 2 * len(points)))
        self.gain = nn.Parameter(torch.full((outputs,), _FIRST_GAIN).log())
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._points = {"cpu": points}

    def start(self, reference: Tensor, grid: Tensor, wedge: Tensor | None) -> None:
        """Begin as the search: templates are the reference (n, n, n) in the rotations (m, 3, 3)."""
        points = self._points["cpu"]
        lookup = TransformLookup(reference.numpy(), self.max_shell)
        values = lookup.at(points.xyz @ grid)
        seen = torch.ones(1, len(points)) if wedge is None else points.weights(wedge[None]) ** 2
        energy = ((values.real**2 + values.imag**2) * seen).sum(dim=1)
        with torch.no_grad():
            self.templates.copy_(as_real(values) * (2 / energy).sqrt()[:, None])

    def forward(self, particle: Tensor, template: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (b, m) of particles (b, 1, n, n, n), and nothing for the shifts."""
        points = self._on(particle.device)
        data = points.transform(particle[:, 0].float())
        half = self.phases.shape[1] // 2
        phases = torch.complex(self.phases[:, :half], self.phases[:, half:])
        moved = as_real(data[:, None] * phases)
        scores = torch.matmul(moved, self.templates.T).amax(dim=1)
        return scores * self.gain.exp() + self.bias, scores.new_zeros(len(scores), 3)

    def _on(self, device: torch.device) -> FourierPoints:
        name = str(device)
        if name not in self._points:
            self._points[name] = FourierPoints(self.box_px, self.max_shell, name)
        return self._points[name]


def as_real(values: Tensor) -> Tensor:
    """Put imaginary after real parts: (..., P) complex to (..., 2 P), as checkpoints have them."""
    return torch.cat([values.real, values.imag], dim=-1)
