"""The computer's own limit, in the same minutes: how late `cyclictest` (Debian's rt-tests) is woken up.

A C program that does nothing but sleep, at our priority, on control's core, with its memory locked. Where it
is late nothing of ours is the reason: an interrupt, the kernel, or the host of a virtual machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
from numpy.typing import NDArray

from edge_wam.realtime import PRIORITY, control_core

MOST_US = 50_000  # rows of its histogram
NAME = "cyclictest"


def sleeper(rate_hz: int, seconds: float) -> NDArray[np.float64] | None:
    """How late each wake-up was, in ms; None where there is no cyclictest, or it is refused our priority."""
    if shutil.which(NAME) is None or (count := round(rate_hz * seconds)) < 1:
        return None
    core = control_core()
    words = [NAME, "--quiet", "--mlockall", "--default-system", f"--priority={PRIORITY}", f"--loops={count}"]
    words += [f"--interval={round(1e6 / rate_hz)}", f"--histogram={MOST_US}"]
    words += [] if core is None else [f"--affinity={core}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return None if done.returncode else histogram_ms(done.stdout)


def histogram_ms(text: str) -> NDArray[np.float64]:
    """Its histogram (lines `000057 000003`: 3 times 57 us late) as single values, in ms; what was later than
    its last row is as late as the greatest."""
    rows = [(int(us), int(count)) for us, count in re.findall(r"^(\d{6}) (\d{6,})$", text, re.M)]
    late_us = [us for us, count in rows for _ in range(count)]
    over = re.search(r"^# Histogram Overflows: (\d+)", text, re.M)
    most = re.search(r"^# Max Latencies: (\d+)", text, re.M)
    late_us += [int(most.group(1))] * int(over.group(1)) if over and most else []
    return np.array(late_us) / 1e3
