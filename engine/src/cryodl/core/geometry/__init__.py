"""Rotations, and volumes under them."""
