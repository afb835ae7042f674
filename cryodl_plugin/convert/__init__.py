"""Between Scipion's objects and the engine's files; the only place that knows both."""

from cryodl_plugin.convert.curves import (
    directionalCurves,
    directionalResolutions,
    fourierShellCorrelation,
    frequencies,
    hemisphere,
    makeFsc,
    readFscs,
    resolutionAt,
)
from cryodl_plugin.convert.maps import (
    averageMaps,
    engineMap,
    engineMapName,
    mapDimensions,
    readMap,
    sphereMask,
    writeMap,
)

__all__ = [
    "averageMaps",
    "directionalCurves",
    "directionalResolutions",
    "engineMap",
    "engineMapName",
    "fourierShellCorrelation",
    "frequencies",
    "hemisphere",
    "makeFsc",
    "mapDimensions",
    "readFscs",
    "readMap",
    "resolutionAt",
    "sphereMask",
    "writeMap",
]
