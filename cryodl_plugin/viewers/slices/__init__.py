"""Slice viewer for tomograms, points, masks and score maps, and a gallery for subtomograms."""
