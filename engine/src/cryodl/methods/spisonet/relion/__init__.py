"""The correction inside a RELION refinement; `external_reconstruct` is where a call begins."""
