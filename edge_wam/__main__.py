"""`python -m edge_wam` is `edge-wam`."""

import sys

from edge_wam.cli import main

if __name__ == "__main__":
    sys.exit(main())
