"""The wizards, found by Scipion through this module."""

from cryodl_plugin.wizards.wizards import (
    CryoDLMaskRadiusWizard,
    CryoDLModelFileWizard,
    CryoDLResolutionLimitWizard,
)

__all__ = ["CryoDLMaskRadiusWizard", "CryoDLModelFileWizard", "CryoDLResolutionLimitWizard"]
