"""Fourier space of cubic boxes: grids, transforms, shells, filters and correlation."""
