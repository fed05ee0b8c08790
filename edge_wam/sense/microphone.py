"""The microphone, by PortAudio: a callback that only copies, and a reader that waits with a timeout."""

from __future__ import annotations

import queue
import time
from typing import Any

import numpy as np

from edge_wam.errors import VoiceError, nearest
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ, Block

_KEPT_S = 3.0  # what a recogniser that fell behind may catch up with; older sound is dropped and counted
_FLAT_S = 5.0  # no live microphone gives the same number for so long; an unplugged one may


class Microphone:
    """A SoundSource. `device` is PortAudio's name or part of it, or its number; '' is the default.

    `dropped` counts blocks lost because nobody read them, `overflows` those that PortAudio lost.
    """

    def __init__(self, device: str = "") -> None:
        self._device = device
        self._blocks: queue.Queue[Block] = queue.Queue(round(_KEPT_S / BLOCK_S))
        self._stream: Any = None  # sounddevice.RawInputStream, a package without types
        self._flat_s, self._level = 0.0, 0
        self.dropped = self.overflows = 0

    def start(self) -> None:
        """Open the device. VoiceError says what is missing, or which devices there are."""
        try:
            import sounddevice
        except ImportError as error:
            raise VoiceError(
                "the microphone needs the sounddevice package; try: pip install 'edge-wam[voice]'"
            ) from error
        except OSError as error:
            raise VoiceError("the microphone needs PortAudio; try: sudo apt install libportaudio2") from error
        try:
            self._stream = sounddevice.RawInputStream(
                samplerate=RATE_HZ,
                blocksize=BLOCK_SAMPLES,
                channels=1,
                dtype="int16",
                device=int(self._device) if self._device.isdigit() else self._device or None,
                callback=self._take,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            names = [
                str(found["name"]) for found in sounddevice.query_devices() if found["max_input_channels"] > 0
            ]
            wanted = self._device or "the default one"
            raise VoiceError(
                f"voice.device: cannot open microphone '{wanted}' at {RATE_HZ} Hz ({_first_line(error)})"
                f"{nearest(wanted, names)}; found: {', '.join(names) or 'no microphone at all'}"
            ) from error

    def _take(self, data: Any, frames: int, when: Any, status: Any) -> None:
        """PortAudio's thread: copy, stamp, go. Any: PortAudio's C structures have no types."""
        now_s = time.monotonic()
        self.overflows += bool(status.input_overflow)
        # How long ago the block's first sample was taken, by the stream's own clock.
        age_s = when.currentTime - when.inputBufferAdcTime - frames / RATE_HZ
        t_s = now_s - (age_s if 0.0 <= age_s < 1.0 else 0.0)  # some drivers leave the times at zero
        block = Block(np.frombuffer(bytes(data), np.int16), t_s)
        try:
            self._blocks.put_nowait(block)
        except queue.Full:
            self.dropped += 1

    def read(self, timeout_s: float) -> Block | None:
        """The next block, or None. VoiceError if the microphone has gone flat."""
        try:
            block = self._blocks.get(timeout=timeout_s)
        except queue.Empty:
            return None
        low, high = int(block.samples.min()), int(block.samples.max())
        self._flat_s = self._flat_s + BLOCK_S if low == high == self._level else 0.0
        self._level = high
        if self._flat_s > _FLAT_S:  # a stale USB handle gives silence, not an error
            raise VoiceError(
                f"the microphone has given nothing but {high} for {_FLAT_S:g} s; is it plugged in? muted?"
            )
        return block

    def stop(self) -> None:
        """Close the device. Harmless when done twice."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()  # stop() waits for buffers, for ever if the source has run dry
            stream.close()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
