"""What was heard, as sound, for an owner who wants that (`voice.keep_audio_mb`, off by default): a WAV file
of each sentence, and beside it in JSON what was understood. The oldest go when there are too many.

Written by a thread of its own: a disk that is slow or full must not hold up STOP.
"""

from __future__ import annotations

import collections
import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.keep import utc_stamp
from edge_wam.sense.sound import BLOCK_S, Block, SoundArray
from edge_wam.sense.wav import write_wav
from edge_wam.types import Words

LONGEST_S = 10.0  # of one file: a sentence and what was before it
_WAITING = 8  # sentences; a disk that hangs loses what comes then
_CLOSE_S = 2.0


class _Heard(NamedTuple):
    stem: str
    sound: SoundArray
    about: dict[str, Any]


class SoundKeeper:
    """Takes blocks as they are heard, and writes them once it is told what they were.

    VoiceError if the folder cannot be made. What fails later is told to `say` once, until it is mended.
    """

    def __init__(self, folder: Path, most_mb: float, say: Callable[[str], object]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # other people's voices
        except OSError as error:
            raise VoiceError(
                f"voice.keep_audio_mb: sound cannot be kept in {folder}: {error.strerror}; "
                "try: --set voice.keep_audio_mb=0"
            ) from error
        self._folder, self._most_bytes, self._say = folder, 1e6 * most_mb, say
        self._blocks: collections.deque[SoundArray] = collections.deque(maxlen=round(LONGEST_S / BLOCK_S))
        self._waiting: queue.Queue[_Heard | None] = queue.Queue(_WAITING)
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="sound keeper", daemon=True)
        self._thread.start()

    def feed(self, block: Block) -> None:
        """A block that is being heard."""
        self._blocks.append(block.samples.copy())

    def keep(self, words: Words, order: str, why: str) -> None:
        """What came since the last one was this. Never waits."""
        sound = np.concatenate([np.zeros(0, np.int16), *self._blocks])
        self._blocks.clear()
        about = {"heard": words.text, "confidence": words.confidence, "did": order, "why": why}
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(_Heard(utc_stamp(time.time()), sound, about))

    def close(self) -> None:
        """What is waiting is written, unless that takes too long."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while (one := self._waiting.get()) is not None:
            try:
                self._write(one)
                self._failed = False
            except OSError as error:
                if not self._failed:
                    self._say(f"voice: what is heard cannot be kept in {self._folder}: {error.strerror}")
                self._failed = True

    def _write(self, one: _Heard) -> None:
        part = self._folder / f"{one.stem}.part"
        try:
            write_wav(part, one.sound)
            part.chmod(0o600)
            part.rename(self._folder / f"{one.stem}.wav")
            text = json.dumps(one.about, ensure_ascii=False) + "\n"
            (self._folder / f"{one.stem}.json").write_text(text, encoding="utf-8")
        finally:
            part.unlink(missing_ok=True)
        found = sorted(self._folder.glob("*.wav"))
        total = sum(path.stat().st_size for path in found)
        for path in found[:-1]:
            if total <= self._most_bytes:
                break
            total -= path.stat().st_size
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)
