"""`python -m edge_wam` is `edge-wam`."""

import sys

from edge_wam.cli import main

sys.exit(main())
