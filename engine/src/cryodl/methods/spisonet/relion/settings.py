"""The ISONET_* environment variables, by which a refinement in RELION is told what to do.

RELION hands the external program one file name and nothing else, so settings travel in the
environment. Names and defaults are those of the published manual; what is new says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from cryodl.core.config.parameters import parameter, traits
from cryodl.errors import ConfigError

PREFIX = "ISONET_"


class RelionSettings(BaseModel):
    """What the external reconstruction does; one field for each variable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    start_healpix: int = parameter(
        3,
        help="HEALPix order (before oversampling; 3 is 7.5 degrees) from which the network runs.",
        group="Start",
        ge=0,
        le=12,
    )
    start_resolution: float = parameter(
        15.0,
        help="Resolution of the refinement (FSC 0.143) from which the network runs.",
        unit="angstrom",
        group="Start",
        gt=0,
    )
    stop_healpix: int | None = parameter(
        None,
        help="HEALPix order from which RELION's own map is returned again, for example that of the "
        "first local searches; never if empty (new).",
        group="Start",
        ge=0,
        le=12,
    )
    prestart: Literal["relion", "unfil"] = parameter(
        "relion",
        help="Map returned before that: relion, the one RELION would have made itself; unfil, the "
        "unregularised map, as the published program does.",
        group="Start",
    )
    method: Literal["cross-direction", "published", "classical", "wiener"] = parameter(
        "cross-direction",
        help="How the network learns: from data measured in other directions, or by the published "
        "equivariance loss; classical uses mask and positivity alone, without a network; wiener "
        "weighs each direction by its own signal to noise ratio and fills nothing (new).",
        group="Training",
    )
    retrain_each_iter: bool = parameter(
        True,
        help="Train from scratch in every iteration; False goes on from the last network.",
        group="Training",
    )
    epochs: int = parameter(5, help="Passes over the subvolumes.", group="Training", ge=1)
    alpha: float = parameter(
        1.0,
        help="Weight of the rotational equivariance loss (ISONET_METHOD=published).",
        group="Training",
        ge=0,
    )
    beta: float = parameter(
        0.5,
        help="Weight of the terms across half maps; larger denoises more "
        "(ISONET_METHOD=published).",
        group="Training",
        ge=0,
    )
    acc_batches: int = parameter(
        2,
        help="Splits the batch to save memory; must divide ISONET_BATCH_SIZE.",
        group="Training",
        ge=1,
    )
    batch_size: int = parameter(4, help="Cubes in an optimiser step (new).", group="Training", ge=1)
    n_subvolume: int = parameter(
        1000, help="Subvolumes seen in an epoch (new).", group="Training", ge=1
    )
    cube_size: int = parameter(
        64,
        help="Edge of the training cubes, made smaller when the box is small (new).",
        unit="px",
        group="Training",
        ge=16,
        multiple_of=8,
    )
    width: Literal["64", "32", "16"] = parameter(
        "64",
        help="Channels of the first level of the network; 16 suits a CPU (new).",
        group="Training",
    )
    independent: bool = parameter(
        True,
        help="One network for each half map, which never sees the other half, so that RELION's FSC "
        "stays honest; without it one network learns from both, as published, and so it is by "
        "default with ISONET_METHOD=published or ISONET_RETRAIN_EACH_ITER=False (new).",
        group="Training",
    )
    seed: int = parameter(
        0, help="Seed of all random choices (new).", group="Training", ge=0, le=2**31 - 1
    )
    devices: str = parameter(
        "auto",
        help="auto (the first GPU that CUDA_VISIBLE_DEVICES shows, else the CPU), cuda (all of "
        "them), cpu, or GPU numbers such as 0,1 (new).",
        group="Training",
    )
    precision: Literal["32", "bf16", "16"] = parameter(
        "32", help="Number format of network passes (new).", group="Training"
    )
    aniso: Literal["fsc", "weight", "min"] = parameter(
        "weight",
        help="Where the directional weight comes from: fsc, the 3DFSC of the half maps, the "
        "default of ISONET_METHOD=published; weight, the sampling in RELION's own weights, which "
        "each half has by itself; min, the smaller of the two (new).",
        group="Maps",
    )
    whitening: bool = parameter(
        True,
        help="Flatten the spectrum of the half maps before the network, from "
        "ISONET_WHITENING_LOW to the resolution.",
        group="Maps",
    )
    grey_scale: Literal["relion", "published"] = parameter(
        "relion",
        help="relion undoes the whitening after the network, so that the map has the power by "
        "shell that RELION's likelihood expects; published leaves it whitened (new).",
        group="Maps",
    )
    whitening_low: float = parameter(
        10.0, help="Where whitening starts.", unit="angstrom", group="Maps", gt=0
    )
    fsc_weighting: bool = parameter(
        True,
        help="Weight the half maps by the shell means of the 3DFSC before the network "
        "(ISONET_METHOD=published; the other weighs each direction itself).",
        group="Maps",
    )
    fsc_05: bool = parameter(
        True,
        help="Train up to the resolution at FSC 0.5 rather than 0.143, which is the default of "
        "ISONET_METHOD=published.",
        group="Maps",
    )
    measured: Literal["relion", "corrected"] = parameter(
        "corrected",
        help="What stands in well measured directions: relion, RELION's own map, and the badly "
        "measured ones get no more power than it has; corrected, the corrected map (new).",
        group="Maps",
    )
    beyond: Literal["relion", "published"] = parameter(
        "relion",
        help="What lies beyond the resolution of the correction: relion, RELION's own map, which "
        "still helps to align; published, what ISONET_LOWPASS says (new).",
        group="Maps",
    )
    lowpass: bool = parameter(
        True,
        help="Low-pass the corrected maps to the resolution (ISONET_BEYOND=published).",
        group="Maps",
    )
    angular_whiten: bool = parameter(
        False,
        help="Give all directions between ISONET_WHITENING_LOW and the resolution the same "
        "amplitude after the network.",
        group="Maps",
    )
    use_sampling: bool = parameter(
        False,
        help="The same as ISONET_ANISO=weight.",
        group="Maps",
        original="ISONET_3DFSD",
    )
    keep_lowres: bool = parameter(
        False,
        help="Keep the reference up to --ini_high in every iteration. --keep_lowres among "
        "RELION's additional arguments does the same.",
        group="Reference",
    )
    reference: Path | None = parameter(
        None,
        help="Map to keep the low resolution of, instead of RELION's reference of iteration 0 "
        "(new).",
        group="Reference",
    )
    on_error: Literal["fallback", "fail"] = parameter(
        "fallback",
        help="When the correction fails: fallback returns RELION's own map with a warning; fail "
        "ends the refinement (new).",
        group="Run",
    )
    keep_files: bool = parameter(
        False,
        help="Keep the maps before and after each step, not only 3DFSC and network (new).",
        group="Run",
    )
    stale: float = parameter(
        300.0,
        help="A worker that has shown no sign of life for so long is replaced (new).",
        unit="seconds",
        group="Run",
        ge=20,
    )
    timeout: float = parameter(
        86400.0,
        help="Longest wait for the other half's worker (new).",
        unit="seconds",
        group="Run",
        gt=0,
    )

    @field_validator("devices")
    @classmethod
    def _known_devices(cls, value: str) -> str:
        numbers = value.replace(" ", "").split(",")
        if value in ("auto", "cuda", "cpu") or all(number.isdigit() for number in numbers):
            return value.replace(" ", "")
        raise ValueError("expected auto, cuda, cpu, or GPU numbers such as 0,1")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_method(cls, values: Any) -> Any:
        """Give the published method its documented defaults, where nothing else is asked for."""
        if not isinstance(values, dict):
            return values
        if str(values.get("method", "")) == "published":
            return {"independent": False, "aniso": "fsc", "fsc_05": False, **values}
        if str(values.get("retrain_each_iter", "")).lower() in ("false", "0", "no", "off"):
            return {"independent": False, **values}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> RelionSettings:
        if self.batch_size % self.acc_batches:
            raise ValueError(
                f"ISONET_ACC_BATCHES: found {self.acc_batches}, expected a divisor of "
                f"ISONET_BATCH_SIZE, {self.batch_size}; change one of them"
            )
        if self.independent and not self.retrain_each_iter:
            raise ValueError(
                "ISONET_RETRAIN_EACH_ITER: found False with ISONET_INDEPENDENT, expected True: "
                "networks of one half map are not handed on; change one of them"
            )
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> RelionSettings:
        """Read the settings; an empty variable counts as unset.

        Raises
        ------
        ConfigError
            A value cannot be read or is out of range.
        """
        given = {
            field: environment[name].strip()
            for field, name in variables().items()
            if environment.get(name, "").strip()
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from error

    @property
    def directional_weight(self) -> Literal["fsc", "weight", "min"]:
        """Source of the directional weight, with ISONET_3DFSD taken into account."""
        return "weight" if self.use_sampling else self.aniso

    def as_variables(self) -> dict[str, Any]:
        """Return the settings under the names of their variables, for a JSON file."""
        values = self.model_dump(mode="json")
        return {name: values[field] for field, name in variables().items()}


def variables() -> dict[str, str]:
    """Return the environment variable of each field."""
    return {
        field: str(traits(info).get("original") or PREFIX + field.upper())
        for field, info in RelionSettings.model_fields.items()
    }


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Say which ISONET_* variables mean nothing, with the name that may have been meant."""
    known = list(variables().values())
    notes = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            notes.append(f"{name} is not known" + (f", perhaps {close[0]}" if close else ""))
    return notes


def _explain(error: ValidationError) -> str:
    names = variables()
    first = error.errors()[0]
    if not first["loc"]:
        return str(first["msg"]).removeprefix("Value error, ")
    name = names[str(first["loc"][0])]
    message = str(first["msg"]).removeprefix("Value error, ")
    message = message.removeprefix("Input should be ").removeprefix("expected ")
    return f"{name}: found {first['input']!r}, expected {message}; correct it or unset it"
