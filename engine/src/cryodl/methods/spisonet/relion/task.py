"""A call for a half map: what is known about it, and whether the network is to run."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.fourier.fsc import resolution_at
from cryodl.core.io.mrc import Volume, read_volume
from cryodl.core.relion.call import ReconstructionCall
from cryodl.core.relion.job import RefinementState, initial_map
from cryodl.core.relion.program import read_box
from cryodl.errors import ConfigError, InputError
from cryodl.methods.spisonet.inputs import read_mask
from cryodl.methods.spisonet.relion.log import CallReport
from cryodl.methods.spisonet.relion.settings import RelionSettings

NETWORK_FOLDER = "network"
MODEL_NAME = "model.safetensors"
_MASK_EDGE_PX = 5.0


@dataclass
class HalfMapTask:
    """One call for half map 1 or 2 of an iteration.

    Attributes
    ----------
    call, state, settings
        What RELION handed over, its refinement, and what the user wants.
    pixel_size_angstrom : float
        Of the map.
    report : CallReport
        Filled on the way.
    """

    call: ReconstructionCall
    state: RefinementState
    settings: RelionSettings
    pixel_size_angstrom: float
    report: CallReport

    @property
    def half(self) -> int:
        """Half of the call, 1 or 2."""
        return self.call.name.half or 1

    @property
    def folder(self) -> Path:
        """Folder of this iteration for what is made on the way, the same for both halves."""
        shared = self.call.name.shared
        return shared.with_name(f"{shared.name}_spisonet")

    @property
    def keeps_low_resolution(self) -> bool:
        """Whether the reference's low resolution is put into the maps."""
        return self.settings.keep_lowres or "--keep_lowres" in self.state.command

    @property
    def limit_angstrom(self) -> float:
        """Resolution up to which the network corrects.

        That of the half maps, or ``--ini_high`` where this is finer, as published.
        """
        report = self.report
        measured = report.resolution_05 if self.settings.fsc_05 else report.resolution_0143
        candidates = [self.state.initial_low_pass_angstrom, measured]
        limit = min(value for value in [*candidates, math.inf] if value is not None)
        box_edge = self.call.box_size_px * self.pixel_size_angstrom
        return min(max(limit, 2 * self.pixel_size_angstrom), box_edge / 2)

    def decide(self) -> bool:
        """Tell whether the network runs, and note the reason in the report.

        The resolution is that of the refinement itself. (The published program takes the smaller
        of it and ``--ini_high``, so that its gate does not block when ``--ini_high`` is below it.)
        """
        n, pixel = self.call.box_size_px, self.pixel_size_angstrom
        curve = self.call.fsc[: n // 2 + 1]
        report, settings = self.report, self.settings
        report.resolution_0143 = resolution_at(curve, 0.143, n, pixel)
        report.resolution_05 = resolution_at(curve, 0.5, n, pixel)
        report.limit_resolution = self.limit_angstrom
        report.keep_lowres = self.keeps_low_resolution
        order, start = self.state.healpix_order, settings.start_healpix
        opens = False
        if order is None:
            report.reason = "no sampling file found, so the angular order is unknown"
        elif order < start:
            report.reason = f"waits for order {start}"
        elif settings.stop_healpix is not None and order >= settings.stop_healpix:
            report.reason = f"order {settings.stop_healpix} reached, where the correction ends"
        elif report.resolution_0143 > settings.start_resolution:
            report.reason = f"waits for {settings.start_resolution:g} A"
        else:
            opens = True
            report.reason = f"order {start} and {settings.start_resolution:g} A reached"
        report.gate = "open" if opens else "closed"
        return opens

    def mask(self) -> NDArray[np.float32]:
        """Return the solvent mask, or a soft sphere of the particle's diameter.

        Raises
        ------
        InputError
            The mask of the refinement is missing or of another box.
        """
        n = self.call.box_size_px
        if self.state.mask is not None:
            like = Volume(np.zeros((n, n, n), np.float32), self.pixel_size_angstrom)
            return read_mask(self.state.mask, like)
        from cryodl.core.volumes.masks import soft_sphere

        diameter = self.call.particle_diameter_angstrom or self.state.particle_diameter_angstrom
        radius = n / 2 - _MASK_EDGE_PX
        if diameter is not None:
            radius = min(radius, diameter / 2 / self.pixel_size_angstrom)
        return soft_sphere(n, radius, _MASK_EDGE_PX)

    def low_resolution_map(self) -> tuple[NDArray[np.float32], float] | None:
        """Return the map whose low resolution is kept, and up to where, or None.

        Raises
        ------
        ConfigError
            ``--ini_high`` was not given.
        InputError
            No such map is found, or it lies on another grid.
        """
        if not self.keeps_low_resolution:
            return None
        limit = self.state.initial_low_pass_angstrom
        if limit is None:
            raise ConfigError(
                "--ini_high: found none in RELION's command line, expected the resolution up to "
                "which --keep_lowres keeps the reference; start the refinement with --ini_high"
            )
        n = self.call.box_size_px
        if self.settings.reference is not None:
            given = read_volume(self.settings.reference, require_cubic=True)
            ratio = given.pixel_size_angstrom / self.pixel_size_angstrom
            if given.data.shape != (n, n, n) or abs(ratio - 1) > 0.01:
                raise InputError(
                    f"ISONET_REFERENCE: {given.path} has a box of {given.data.shape[0]} px of "
                    f"{given.pixel_size_angstrom:.4g} A, expected {n} px of "
                    f"{self.pixel_size_angstrom:.4g} A; resample it, for example with "
                    "relion_image_handler --rescale_angpix --new_box"
                )
            return given.data, limit
        path = initial_map(self.call, self.state)
        if path is None:
            raise InputError(
                f"{self.state.roots[0]}_it000_half{self.half}_class001.mrc: not found, nor under "
                "the names of the runs continued, expected the reference of iteration 0 for "
                "--keep_lowres; set ISONET_REFERENCE to the reference"
            )
        return read_box(path, n), limit

    def previous_model(self, network: str) -> Path | None:
        """Return the network of the last iteration that has one, or None.

        Parameters
        ----------
        network : str
            Its folder within that of an iteration: half maps may have one each.
        """
        name = self.call.name
        pattern = re.compile(rf"^{re.escape(name.out)}(?:_ct\d+)?_it(\d+)_spisonet$")
        found = []
        for entry in os.scandir(name.folder):
            match = pattern.match(entry.name)
            model = Path(entry.path) / network / MODEL_NAME
            if match and int(match[1]) < name.iteration and model.is_file():
                found.append((int(match[1]), entry.name.startswith(f"{name.run}_it"), model))
        return max(found)[-1] if found else None
