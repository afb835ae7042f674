"""Particles of every program in one model: read, convert, write."""
