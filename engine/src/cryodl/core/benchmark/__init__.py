"""How fast a training step is, beside what the machine could do at most."""
