"""The protocols, found by Scipion through this module."""

from cryodl_plugin.protocols.protocol_correct import CryoDLProtAnisoCorrect
from cryodl_plugin.protocols.protocol_edit_coordinates import CryoDLProtEditCoordinates
from cryodl_plugin.protocols.protocol_fsc3d import CryoDLProtFsc3D
from cryodl_plugin.protocols.protocol_misalign import CryoDLProtMisalignRefine
from cryodl_plugin.protocols.protocol_simulate import CryoDLProtSimulateHalfMaps

__all__ = [
    "CryoDLProtAnisoCorrect",
    "CryoDLProtEditCoordinates",
    "CryoDLProtFsc3D",
    "CryoDLProtMisalignRefine",
    "CryoDLProtSimulateHalfMaps",
]
