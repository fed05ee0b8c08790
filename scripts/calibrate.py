#!/usr/bin/env python3
"""Calibrate the arm, at a terminal: python scripts/calibrate.py arm --help"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_wam.service.calibrate import main

if __name__ == "__main__":
    sys.exit(main())
