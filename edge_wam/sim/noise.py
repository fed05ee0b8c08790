"""What else there is to hear in the simulated room: servos, pink noise, babble, music, and the room itself.

Everything is made from a seed, (N,) float64 at RATE_HZ, with a root mean square of about 1 unless said
otherwise. None of it is a recording: real servos and rooms differ, and recordings can be dropped in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wam.sense.sound import RATE_HZ

Sound = NDArray[np.float64]
Talk = Callable[[np.random.Generator], Sound]  # a sentence of somebody

# A servo as it is imagined here: a brushed motor of three poles that turns up to 280 times a second (52 rpm
# behind 1:345, the STS3215's data sheet), a pinion of 10 teeth, and a drive that switches at 7 kHz (assumed:
# what can be heard of one differs). order: cycles a turn.
_TURNS_HZ, _ORDERS = 280.0, ((1, 0.4), (2, 0.25), (6, 1.0), (10, 0.8), (12, 0.4), (20, 0.35))
_SWITCHING_HZ = 7_000.0
_SERVOS = 6


def rms(sound: Sound) -> float:
    """Root mean square of (N,); 0 for none."""
    return float(np.sqrt(np.mean(np.square(sound)))) if len(sound) else 0.0


def level(sound: Sound, wanted: float = 1.0) -> Sound:
    """(N,) brought to a root mean square of `wanted`; silence stays silence."""
    return sound * (wanted / (rms(sound) or 1.0))


def pink(count: int, rng: np.random.Generator) -> Sound:
    """Noise whose power falls by 3 dB an octave above 20 Hz."""
    return level(_shaped(count, rng, lambda hz: 1 / np.sqrt(np.maximum(hz, 20.0)) * (hz >= 20.0)))


def servos(count: int, rng: np.random.Generator) -> Sound:
    """Six servos of an arm at work, each moving about half of the time.

    A move runs its speed up, along and down (0.3 to 1.5 s); speed sweeps the harmonics of motor and pinion
    and swells the noise of brushes and gears (1 to 6 kHz). While it holds, the drive's switching sings, with
    the hunting of a loop around its goal (8 to 14 Hz).
    """
    total, t_s = np.zeros(count), np.arange(count) / RATE_HZ
    for _ in range(_SERVOS):
        speed = _moves(count, rng)
        phase = 2 * np.pi * np.cumsum(speed * _TURNS_HZ * rng.uniform(0.7, 1.0)) / RATE_HZ
        one = 0.4 * speed * _shaped(count, rng, lambda hz: ((hz > 1_000) & (hz < 6_000)).astype(float))
        for order, loud in _ORDERS:
            # Above half the rate a harmonic would fold down: at such a speed it is left out.
            heard = speed * _TURNS_HZ * order < 0.45 * RATE_HZ
            one += loud * np.sqrt(speed) * heard * np.sin(order * phase + rng.uniform(0, 2 * np.pi))
        hunting = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(8, 14) * t_s)
        drive_hz = _SWITCHING_HZ * rng.uniform(0.99, 1.01)
        total += rng.uniform(0.5, 1.5) * (one + 0.15 * hunting * np.sin(2 * np.pi * drive_hz * t_s))
    return level(total)


def _moves(count: int, rng: np.random.Generator) -> Sound:
    """Speeds of one servo, 0 to 1: moves with pauses between them."""
    speed, at = np.zeros(count), int(rng.uniform(0, 0.5) * RATE_HZ)
    while at < count:
        length = int(rng.uniform(0.3, 1.5) * RATE_HZ)
        ramp = np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.12 * RATE_HZ)
        part = rng.uniform(0.3, 1.0) * np.minimum(1.0, ramp)
        speed[at : at + length] = part[: count - at]
        at += length + int(rng.uniform(0.2, 1.2) * RATE_HZ)
    return speed


def babble(count: int, rng: np.random.Generator, talkers: Sequence[Talk]) -> Sound:
    """Every talker speaks without an end, all equally loud and at once."""
    total = np.zeros(count)
    for talk in talkers:
        total += level(monologue(count, rng, [talk], (0.1, 0.6)))
    return level(total)


def monologue(
    count: int, rng: np.random.Generator, talkers: Sequence[Talk], pause_s: tuple[float, float]
) -> Sound:
    """One sentence after another, each by one of the talkers, with pauses between them; a sentence has a root
    mean square of 1."""
    total, at = np.zeros(count), int(rng.uniform(*pause_s) * RATE_HZ)
    while at < count:
        said = level(talkers[int(rng.integers(len(talkers)))](rng))
        total[at : at + len(said)] = said[: count - at]
        at += len(said) + int(rng.uniform(*pause_s) * RATE_HZ)
    return total


def music(count: int, rng: np.random.Generator) -> Sound:
    """A tune over chords, a bass and a drum at 80 to 140 beats a minute: something with pitch and rhythm that
    is no speech."""
    beat = int(RATE_HZ * 60 / rng.uniform(80, 140))
    scale = np.array([0, 2, 4, 5, 7, 9, 11])
    total = np.zeros(count + 4 * beat)
    for number, at in enumerate(range(0, count, beat)):
        root = int(scale[[0, 3, 4, 0][number // 4 % 4]])
        if number % 4 == 0:
            for third in (0, 4, 7):
                total[at : at + 4 * beat] += 0.25 * _note(48 + root + third, 4 * beat)
        total[at : at + beat] += 0.5 * _note(36 + root, beat)
        for half in range(2):
            if rng.random() < 0.75:
                pitch, start = 60 + root + int(rng.choice(scale)), at + half * beat // 2
                total[start : start + beat // 2] += 0.6 * _note(pitch, beat // 2)
        drum = rng.standard_normal(beat // 3) * np.exp(-np.arange(beat // 3) / (0.02 * RATE_HZ))
        total[at : at + beat // 3] += 0.5 * drum
    return level(total[:count])


def _note(pitch: int, count: int) -> Sound:
    """A plucked tone, pitch as in MIDI."""
    t_s = np.arange(count) / RATE_HZ
    hz = 440 * 2 ** ((pitch - 69) / 12)
    tone = np.zeros(count)
    for n in range(1, 8):
        if n * hz < 0.45 * RATE_HZ:
            tone += np.sin(2 * np.pi * n * hz * t_s) / n
    decayed: Sound = tone * np.exp(-3 * t_s) * np.minimum(1, t_s / 0.01)
    return decayed


def echo(rt60_s: float, direct_db: float, rng: np.random.Generator) -> Sound:
    """An impulse response: the direct sound at sample 0, then noise that decays by 60 dB in rt60_s.
    direct_db: the direct sound's energy over that of all the rest."""
    t_s = np.arange(int(rt60_s * RATE_HZ)) / RATE_HZ
    tail = rng.standard_normal(len(t_s)) * 10 ** (-3 * t_s / rt60_s)
    tail[: int(0.003 * RATE_HZ)] = 0  # nothing is reflected within a metre
    response: Sound = tail * (10 ** (-direct_db / 20) / np.sqrt(np.sum(tail**2)))
    response[0] = 1.0
    return response


def convolved(sound: Sound, response: Sound) -> Sound:
    """(N,) in a room, (N + M - 1,): by way of the spectrum."""
    count = len(sound) + len(response) - 1
    size = 1 << (count - 1).bit_length()
    found: Sound = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[:count]
    return found


def _shaped(count: int, rng: np.random.Generator, gain: Callable[[Any], Any]) -> Sound:
    """White noise, each frequency times its gain; a root mean square of 1."""
    size = 1 << max(1, count - 1).bit_length()  # a power of two: others may take hundreds of times as long
    spectrum = np.fft.rfft(rng.standard_normal(size))
    shaped = np.fft.irfft(spectrum * gain(np.fft.rfftfreq(size, 1 / RATE_HZ)), size)[:count]
    return level(shaped)
