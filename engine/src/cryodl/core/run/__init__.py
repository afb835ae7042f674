"""A run: its folder, log, progress, metrics, results and report."""
