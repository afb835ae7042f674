"""spIsoNet: directional resolution and anisotropy correction of half maps."""
