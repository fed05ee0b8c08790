"""A recording folder becomes a film a person likes, a still for the README, and a figure.

    film.make(Path("recording"), Path("demo.mp4"))      # real pace, 15 frames a second
    film.poster(Path("recording"), Path("demo.png"))    # the moment it was done, or the end
    print(film.imagination_error(Path("recording")))    # imagined 0.6x of 'nothing changes'

The front camera with the command, the wrist camera, what was imagined beside what then happened,
and the joints over time. The folder's layout stands in recording.py. Needs Pillow, matplotlib, tqdm
and, for a video instead of a GIF, PyAV; none of them while the robot runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_wam.film import imagination, recording, writer
from edge_wam.film.imagination import CameraImagination, ImaginationError
from edge_wam.film.page import Page
from edge_wam.film.recording import Recording, RecordingError
from edge_wam.types import FloatArray, ImageArray

__all__ = ["CameraImagination", "ImaginationError", "RecordingError", "imagination_error", "make", "poster"]

FPS = 15
HOLD_S = 2.5  # the last picture stays, so that the outcome can be read


def make(folder: Path, out: Path, progress: bool = True) -> Path:
    """The film of a recording folder; returns the file written: .mp4, or .gif without PyAV.

    Raises RecordingError.
    """
    story = recording.read(folder)
    return writer.write(out, _pictures(story, progress), FPS)


def poster(folder: Path, out_png: Path) -> Path:
    """One still: the moment it was done, or the end. Raises RecordingError."""
    story = recording.read(folder)
    picture = Page(story).draw(story.end_s if story.done_s is None else story.done_s, ended=True)
    out_png.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out_png, "PNG", optimize=True)
    return out_png


def imagination_error(folder: Path) -> ImaginationError:
    """How wrong the imagined frames were, and 'nothing changes', on moving pixels. Raises RecordingError."""
    return imagination.imagination_error(recording.read(folder))


def moments_s(story: Recording) -> FloatArray:
    """The times of the film's pictures, the last one held for HOLD_S."""
    count = int(np.ceil((story.end_s - story.start_s) * FPS - 1e-6))  # 1e-6: 0.8 s are 12 pictures, not 13
    return np.append(story.start_s + np.arange(count) / FPS, np.full(round(HOLD_S * FPS), story.end_s))


def _pictures(story: Recording, progress: bool) -> Iterator[ImageArray]:
    from tqdm import tqdm

    page, held = Page(story), None
    for t_s in tqdm(moments_s(story), desc="film", unit="frame", disable=not progress):
        if t_s < story.end_s:
            yield np.asarray(page.draw(t_s))
        else:
            held = np.asarray(page.draw(t_s, ended=True)) if held is None else held
            yield held
