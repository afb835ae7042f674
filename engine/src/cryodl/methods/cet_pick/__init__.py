"""cet_pick: particle picking in tomograms from a few labelled particles."""
