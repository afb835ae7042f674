"""Rotations and poses."""
