"""The wizards, found by Scipion through this module."""

from cryodl_plugin.wizards.misalign import CryoDLCommandWizard, CryoDLParticleDiameterWizard
from cryodl_plugin.wizards.wizards import (
    CryoDLMaskRadiusWizard,
    CryoDLModelFileWizard,
    CryoDLResolutionLimitWizard,
)

__all__ = [
    "CryoDLCommandWizard",
    "CryoDLMaskRadiusWizard",
    "CryoDLModelFileWizard",
    "CryoDLParticleDiameterWizard",
    "CryoDLResolutionLimitWizard",
]
