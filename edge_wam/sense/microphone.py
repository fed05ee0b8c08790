"""The microphone: a SoundSource that loses its device and finds it again.

    sense/ear.py --pieces--> Microphone --blocks--> recogniser
    a process of its own     in the voice process

A device that is gone is said once. From then on there is silence, a new ear looks for the same device after a
pause that doubles, and when there is sound again that is said too. The recogniser lives on meanwhile, with
its model loaded; nothing else of the robot notices. Silence, because half a sentence must end there: with
nothing in between, a recogniser would go on with whatever is said after the next plugging.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.sense.convert import ToBlocks
from edge_wam.sense.devices import name_to_keep
from edge_wam.sense.pieces import Decoder, Failed, Opened, Piece, Record, read_some
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ, Block
from edge_wam.sense.soundcheck import FLAT_S, Soundcheck

EAR = (sys.executable, "-m", "edge_wam.sense.ear")
READY_S = 15.0  # Python, PortAudio and its look at every device of the machine
LOST_S = 1.0  # fifty pieces that did not come
PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0  # an ear that looks in vain costs a second of one core
LIVED_S = 10.0  # a device that was heard for so long has earned a short pause again
# Who is so far behind will not catch up: a STOP from now matters more than a sentence from then.
BEHIND_S, FRESH_S = 3.0, 0.5
PAUSE_BLOCKS = 17  # a second of silence in place of what was skipped: longer than recognisers wait for an end


class Microphone:
    """A SoundSource (sense/sound.py). `device`: see sense/devices.py; what happens to it goes to `say`.

    name and rate_hz are the device's. dropped counts pieces (20 ms) lost because nobody read them in time,
    overflows those that PortAudio lost, losses how often the device went away.
    """

    def __init__(
        self,
        device: str = "",
        say: Callable[[str], object] | None = None,
        ear: Sequence[str] = EAR,
    ) -> None:
        self._wanted, self._say, self._command = device, say or _say, tuple(ear)
        self.name, self.rate_hz = "", 0
        self.dropped = self.overflows = self.losses = 0
        self._ear: _Ear | None = None
        self._blocks: deque[Block] = deque()
        self._lost = ""  # why it is not heard, as it was said last; '' while it is
        self._lost_s = self._due_s = self._back_s = (
            0.0  # since when; until when it must give a sign; since when
        )
        self._silent_s = 0.0  # when the next block is due, if there is only silence
        self._again_s: float | None = None  # when to look for it again
        self._pause_s = PAUSE_S
        self._opened = self._behind = self._told_clipped = self._told_behind = False
        self._counted = (0, 0)  # dropped and overflows, as this ear has told them
        self._check, self._convert = Soundcheck(RATE_HZ), ToBlocks(RATE_HZ)

    def start(self) -> None:
        """Open the device and wait for its first sound. VoiceError says what is missing, or what there is."""
        self._open()
        try:
            while not self._blocks:
                self._listen(READY_S)
                if self._lost and not self._blocks:
                    raise VoiceError(self._lost)
        except VoiceError:
            self.stop()
            raise

    def read(self, timeout_s: float) -> Block | None:
        """The next block, or None if there was none in `timeout_s`. Silence while the device is away."""
        end_s = time.monotonic() + timeout_s
        while True:
            now_s = time.monotonic()
            if self._blocks:
                self._silent_s = now_s + 2 * BLOCK_S
                return self._blocks.popleft()
            if self._lost and now_s >= self._silent_s:
                self._silent_s = now_s + BLOCK_S
                return _silence(1, now_s)[0]
            until_s = min(end_s, self._silent_s) if self._lost else end_s
            self._listen(max(0.0, until_s - now_s))
            if not self._blocks and time.monotonic() >= end_s:
                return None

    def stop(self) -> None:
        """Close the device. Harmless when done twice."""
        if self._ear is not None:
            self._ear.kill()
        self._ear, self._again_s, self._lost = None, None, ""
        self._blocks.clear()

    def _listen(self, timeout_s: float) -> None:
        """Wait for the next thing that happens, `timeout_s` at most, and deal with it."""
        now_s = time.monotonic()
        if self._again_s is not None and now_s >= self._again_s:
            self._open()
        until_s = self._due_s if self._again_s is None else self._again_s
        wait_s = max(0.0, min(timeout_s, until_s - now_s))
        if self._ear is None:
            time.sleep(wait_s)
            return
        for record in self._ear.receive(wait_s):
            self._take(record)
        if self._again_s is None and time.monotonic() >= self._due_s:
            given = f"has given no sound for {LOST_S:g} s" if self._opened else "does not open"
            self._lose(f"'{self.name or self._wanted or 'the default one'}' {given}; is it plugged in?")

    def _open(self) -> None:
        """A new ear: the old one's PortAudio knows nothing of what was plugged in since."""
        if self._ear is not None:
            self._ear.kill()
        device = name_to_keep(self._wanted, self.name) if self.name else self._wanted
        self._ear, self._again_s = _Ear(self._command, device), None
        self._opened, self._counted = False, (0, 0)
        self._due_s = time.monotonic() + READY_S

    def _take(self, record: Record) -> None:
        if isinstance(record, Failed):
            self._lose(record.reason)
        elif isinstance(record, Opened):
            (self.name, self.rate_hz), self._opened = record, True
            self._check, self._convert = Soundcheck(self.rate_hz), ToBlocks(self.rate_hz)
        else:
            self._hear(record)
        if self._again_s is None:
            self._due_s = time.monotonic() + LOST_S

    def _hear(self, piece: Piece) -> None:
        now_s = time.monotonic()
        counted = (piece.dropped, piece.overflows)
        if counted != self._counted:
            self.dropped += counted[0] - self._counted[0]
            self.overflows += counted[1] - self._counted[1]
            self._counted = counted
            self._convert.gap()
        self._check.hear(piece.samples)
        if not self._check.flat_s:
            self._found(now_s)
        elif self._check.flat_s > FLAT_S and self._again_s is None:
            # The ear stays: a switch that muted it may be switched back before the next one looks.
            self._lose(
                f"'{self.name}' has given nothing but {piece.samples[0]:g} for {FLAT_S:g} s; muted? a dead "
                "USB handle? try: its switch, alsamixer (capture, space), or unplug it",
                hear_on=True,
            )
        if self._check.clipped and not self._told_clipped:
            self._told_clipped = True
            self._say(
                f"the microphone '{self.name}' is too loud: much of it is at full scale, and words are lost; "
                "try: alsamixer (F4, capture level down), or more distance"
            )
        self._keep_up(piece, now_s)

    def _keep_up(self, piece: Piece, now_s: float) -> None:
        """Into blocks, unless the reader is so late that it had better begin anew."""
        age_s = now_s - piece.t_s
        if self._behind and age_s < FRESH_S:
            self._behind, self._convert = False, ToBlocks(self.rate_hz)
            self._blocks += _silence(PAUSE_BLOCKS, piece.t_s)
        elif not self._behind and age_s > BEHIND_S:
            self._behind = True
            if not self._told_behind:
                self._told_behind = True
                self._say(f"the recogniser is {age_s:.1f} s behind; what lies between is not heard")
        if self._behind:
            self.dropped += 1
        else:
            self._blocks += self._convert.add(piece.samples, piece.t_s)

    def _found(self, now_s: float) -> None:
        if self._lost:
            self._say(
                f"microphone back after {now_s - self._lost_s:.0f} s: '{self.name}', {self.rate_hz} Hz; "
                "voice works again"
            )
            self._lost, self._again_s, self._back_s = "", None, now_s
        elif now_s - self._back_s > LIVED_S:
            self._pause_s = PAUSE_S

    def _lose(self, reason: str, hear_on: bool = False) -> None:
        now_s = time.monotonic()
        if not hear_on and self._ear is not None:
            self._ear.kill()
            self._ear = None
        if not self._lost:
            self.losses += 1
            self._lost_s = now_s
            if self.name:  # else it was never there: whoever starts it is told
                self._say(f"microphone lost: {reason}; the arm does not need it; looking for it")
        elif reason != self._lost:
            self._say(f"microphone still away: {reason}")
        self._lost = reason
        self._again_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


class _Ear:
    """A process that runs `command PIPE DEVICE`, and what it says."""

    def __init__(self, command: Sequence[str], device: str) -> None:
        self._pipe, theirs = os.pipe()
        try:
            # Its outputs are of no use: ALSA's library complains there about every device that is none.
            self._process = subprocess.Popen(
                [*command, str(theirs), device],
                pass_fds=(theirs,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            os.close(self._pipe)
            raise VoiceError(f"the process that listens cannot be started: {error}") from error
        finally:
            os.close(theirs)
        os.set_blocking(self._pipe, False)
        self._decoder = Decoder()

    def receive(self, timeout_s: float) -> list[Record]:
        """What it said, oldest first; nothing if it was silent for `timeout_s`; Failed when it has ended."""
        select.select([self._pipe], [], [], timeout_s)
        data = read_some(self._pipe)
        if data is None:
            return []
        if not data:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            code = self._process.returncode
            return [Failed(f"the process that listens ended by itself (exit code {code})")]
        return self._decoder.feed(data)

    def kill(self) -> None:
        """End it at once: its PortAudio may be past listening."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            os.close(self._pipe)


def _silence(count: int, end_s: float) -> list[Block]:
    """`count` blocks of it, the last one until `end_s`."""
    return [
        Block(np.zeros(BLOCK_SAMPLES, np.int16), end_s - (count - 1 - index) * BLOCK_S)
        for index in range(count)
    ]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
