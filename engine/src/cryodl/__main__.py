"""Run the command line as ``python -m cryodl``."""

from cryodl.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
