"""Scores against a known truth, by direction and by resolution."""
