"""The wizards, found by Scipion through this module."""

from cryodl_plugin.wizards.autoencoder import (
    CryoDLGroupWizard,
    CryoDLLevelWizard,
    CryoDLSubvolumeBoxWizard,
    CryoDLSubvolumeTomogramWizard,
)
from cryodl_plugin.wizards.misalign import CryoDLCommandWizard, CryoDLParticleDiameterWizard
from cryodl_plugin.wizards.opus import CryoDLClusterWizard, CryoDLEpochWizard
from cryodl_plugin.wizards.picking import CryoDLDiameterWizard, CryoDLThresholdWizard
from cryodl_plugin.wizards.subtomos import CryoDLStartLowPassWizard, CryoDLSubtomoMaskWizard
from cryodl_plugin.wizards.tomography import CryoDLBoxSizeWizard, CryoDLTomogramWizard
from cryodl_plugin.wizards.wizards import (
    CryoDLMaskRadiusWizard,
    CryoDLModelFileWizard,
    CryoDLResolutionLimitWizard,
)

__all__ = [
    "CryoDLBoxSizeWizard",
    "CryoDLClusterWizard",
    "CryoDLCommandWizard",
    "CryoDLDiameterWizard",
    "CryoDLEpochWizard",
    "CryoDLGroupWizard",
    "CryoDLLevelWizard",
    "CryoDLMaskRadiusWizard",
    "CryoDLModelFileWizard",
    "CryoDLParticleDiameterWizard",
    "CryoDLResolutionLimitWizard",
    "CryoDLStartLowPassWizard",
    "CryoDLSubtomoMaskWizard",
    "CryoDLSubvolumeBoxWizard",
    "CryoDLSubvolumeTomogramWizard",
    "CryoDLThresholdWizard",
    "CryoDLTomogramWizard",
]
