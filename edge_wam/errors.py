"""Errors that a person can act on.

Everything a user can cause (a file that is not there, a value that disagrees) ends in an
`EdgeWamError`: one line that says what was expected, what was found and what to try. The command
line prints that line and exits with 2; anything else is a defect and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgeWamError(Exception):
    """Base of all errors meant for a person."""


class ConfigError(EdgeWamError):
    """A setting is unknown, of the wrong kind or out of range."""


class ManifestError(EdgeWamError):
    """The model's manifest is missing, broken or disagrees with the robot."""


class CalibrationError(EdgeWamError):
    """The robot's calibration is missing, broken or impossible."""


class BusError(EdgeWamError):
    """The servo bus cannot be opened or does not answer."""


class ArmError(EdgeWamError):
    """The arm itself may not go on: too hot, say."""


class CameraError(EdgeWamError):
    """A camera cannot be opened or has stopped."""


class VoiceError(EdgeWamError):
    """The recogniser, its model, its grammar or the sound input is unusable."""


class EngineError(EdgeWamError):
    """The model's engine cannot be loaded or does not reproduce the golden batch."""


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest known word, or '' if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def reasons(failures: Iterable[tuple[str, str]]) -> str:
    """(who, why) as one text; whoever failed for the same reason is named together."""
    by: dict[str, list[str]] = {}
    for who, why in failures:
        by.setdefault(why, []).append(who)
    return "; ".join(f"{' / '.join(every)}: {why}" for why, every in by.items())
