"""Structural heterogeneity of aligned subtomograms, after OPUS-TOMO."""
