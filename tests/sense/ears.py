"""Ears that do what a test wants: run as `python ears.py SCENARIO LOG PIPE DEVICE` in place of sense/ear.py.

LOG gets a line for every life: when it began and the device that it was asked for. So each life knows which
one it is.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from edge_wam.sense.pieces import Failed, Opened, Piece, encode, write_all

RATE_HZ, PIECE = 16_000, 320
SILENCE = np.zeros(PIECE, np.float32)
NOISE = np.random.default_rng(0).normal(0.0, 0.01, PIECE).astype(np.float32)


class Ear:
    def __init__(self, pipe):
        self._pipe = pipe

    def tell(self, record):
        write_all(self._pipe, encode(record))

    def open(self, name="USB Mic: - (hw:1,0)"):
        self.tell(Opened(name, RATE_HZ))

    def hear(self, samples, seconds, age_s=0.0):
        """Pieces, as fast as they are read; each heard `age_s` before it is told."""
        for _ in range(round(seconds * RATE_HZ / PIECE)):
            self.tell(Piece(np.asarray(samples, np.float32), time.monotonic() - age_s, 0, 0))

    def wait(self):
        time.sleep(60)

    def hear_on(self, samples):
        """For ever, at the pace of real time."""
        while True:
            self.hear(samples, 0.02)
            time.sleep(0.02)


def well(ear, life):
    ear.open()
    ear.hear_on(NOISE)


def quiet(ear, life):
    ear.open()
    ear.hear_on(SILENCE)


def faint(ear, life):
    """One bit, now and then."""
    ear.open()
    ear.hear_on(np.where(np.arange(PIECE) % 8, 0, 1 / 32768))


def shouted(ear, life):
    ear.open()
    ear.hear_on(np.clip(100.0 * NOISE, -1.0, 32767 / 32768))


def unplugged(ear, life):
    """Once pulled out, not there for one look, then on another card."""
    if life == 2:
        ear.tell(Failed("no microphone 'USB Mic'"))
    elif life == 1:
        ear.open()
        ear.hear(NOISE, 0.18)
        ear.tell(Failed("'USB Mic' has stopped by itself"))
    else:
        ear.open("USB Mic: - (hw:2,0)")
        ear.hear(NOISE, 0.18)
    ear.wait()


def gone(ear, life):
    if life == 1:
        ear.open()
        ear.hear(NOISE, 0.06)
    ear.tell(Failed("unplugged"))


def speechless(ear, life):
    """Open, and not a sound more; nor does it end."""
    ear.open()
    ear.hear(NOISE, 0.06 if life == 1 else 1.0)
    ear.wait()


def killed(ear, life):
    ear.open()
    ear.hear(NOISE, 0.06)
    if life == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    ear.wait()


def muted_and_back(ear, life):
    """A switch: the same ear goes silent, longer than a room can be, and hears again."""
    ear.open()
    ear.hear(NOISE, 0.06)
    ear.hear(SILENCE, 6.0)
    ear.hear_on(NOISE)


def stale(ear, life):
    """A dead USB handle: silence for ever from the first two ears, sound from the third."""
    ear.open()
    if life == 1:
        ear.hear(NOISE, 0.06)
    ear.hear(SILENCE if life < 3 else NOISE, 6.0)
    ear.wait()


def loud(ear, life):
    ear.open()
    ear.hear(np.clip(100.0 * NOISE, -1.0, 32767 / 32768), 12.0)
    ear.wait()


def late(ear, life):
    """A block and a third, what nobody read for five seconds, then the present."""
    ear.open()
    ear.hear(NOISE, 0.08)
    ear.hear(np.full(PIECE, 0.25), 1.0, age_s=5.0)
    ear.hear(np.full(PIECE, 0.375), 0.5, age_s=2.0)  # better than 3 s, but not the present
    ear.hear(NOISE + 0.5, 0.12)
    ear.wait()


def holes(ear, life):
    """Four pieces, a tenth of a second that is missing, and five more; stamped evenly otherwise."""
    ear.open()
    began_s = time.monotonic()
    for index in range(9):
        lost = index >= 4
        t_s = began_s + 0.02 * index + 0.1 * lost
        ear.tell(Piece(NOISE, t_s, 3 * lost + (index == 8), 1 * lost))
    ear.wait()


def absent(ear, life):
    ear.tell(Failed("voice.device: no microphone 'nowhere'; found: USB Mic"))


if __name__ == "__main__":
    scenario, log, pipe, device = sys.argv[1:]
    with Path(log).open("a") as file:
        file.write(f"{time.monotonic()} {device}\n")
    globals()[scenario](Ear(int(pipe)), len(Path(log).read_text().splitlines()))
