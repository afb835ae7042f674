"""Console script ``relion_wrapper``: the program RELION calls under ``--external_reconstruct``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run one call; returns the exit status."""
    from cryodl.methods.spisonet.external_reconstruct import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
