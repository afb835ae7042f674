"""Simulated data with a known truth: densities, and half maps as an uneven data set gives them."""
