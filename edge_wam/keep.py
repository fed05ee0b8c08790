"""Files that a person may want back."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from edge_wam.errors import EdgeWamError


def utc_stamp(now_s: float) -> str:
    """For names in the order of time: UTC to the millisecond. now_s: as time.time() has it."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_s)) + f".{int(now_s % 1 * 1000):03d}Z"


def replace_file(path: Path, text: str) -> Path | None:
    """Write a file, whole or not at all; what was there is kept beside it. Returns where, or None.

    EdgeWamError where nothing can be written.
    """
    try:
        return _replace(path, text)
    except OSError as error:
        raise EdgeWamError(
            f"{path} cannot be written ({error.strerror}); try: another folder, or mend its permissions"
        ) from error


def _replace(path: Path, text: str) -> Path | None:
    kept = None
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    if path.exists():
        stem = f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}"
        kept = path.with_name(f"{stem}.bak")
        number = 1
        while kept.exists():  # twice in one second
            number += 1
            kept = path.with_name(f"{stem}-{number}.bak")
        shutil.copy2(path, kept)
    os.replace(beside, path)
    return kept
