"""Deep learning for cryo-EM and cryo-ET: one engine, five methods."""

__version__ = "0.1.0"
