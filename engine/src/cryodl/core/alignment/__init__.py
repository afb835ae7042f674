"""Find the poses of particles: exhaustive and local search with both wedges (torch)."""
