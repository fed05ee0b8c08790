"""WAV files: read whole, mixed to mono, resampled to what the recogniser hears (and written, for samples).

A recogniser given 44.1 kHz as if it were 16 kHz hears a slow giant, and finds words in it all the
same; so the rate of the file is obeyed, never assumed.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import VoiceError
from edge_wam.sense.sound import RATE_HZ, SoundArray

Wave = NDArray[np.float32]  # (N,), full scale is 1
_RATES_HZ = (4_000, 384_000)  # below, the consonants are gone; above, the header is broken
_LONGEST_S = 600.0


def read_wav(path: Path) -> SoundArray:
    """The file as mono int16 at RATE_HZ, shape (N,).

    PCM of 8, 16, 24 or 32 bit, any number of channels (their mean), any rate from 4 to 384 kHz.
    VoiceError for everything else: no file, no WAV, floats, no sound in it, cut short.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate_hz, count = file.getparams()[:4]
            if not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]:
                raise VoiceError(
                    f"{path}: expected {_RATES_HZ[0]} to {_RATES_HZ[1]} Hz, found {rate_hz}; "
                    f"try: sox {path.name} -r {RATE_HZ} fixed.wav"
                )
            if count > _LONGEST_S * rate_hz:
                raise VoiceError(
                    f"{path}: expected at most {_LONGEST_S:g} s of sound, found {count / rate_hz:.0f} s"
                )
            raw = file.readframes(count)
    except FileNotFoundError as error:
        raise VoiceError(f"{path}: no such WAV file; try: --wav with a file that exists, or --say") from error
    except (OSError, EOFError, wave.Error) as error:
        raise VoiceError(
            f"{path}: expected a PCM WAV file, found {str(error) or 'the end of the file'}; "
            f"try: sox {path.name} -b 16 -r {RATE_HZ} -c 1 fixed.wav"
        ) from error
    frames = len(raw) / (channels * width)
    if not raw or frames != count:
        raise VoiceError(f"{path}: expected {max(count, 1)} samples, found {frames:g}; is it cut short?")
    mono = _mono(raw, channels, width)
    return to_int16(resample(mono, rate_hz))


def write_wav(path: Path, samples: SoundArray) -> None:
    """Write mono int16 at RATE_HZ."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


def resample(mono: Wave, rate_hz: int) -> Wave:
    """(N,) float at rate_hz -> (about N * RATE_HZ / rate_hz,), band-limited; unchanged at the right rate."""
    if rate_hz == RATE_HZ:
        return mono
    import soxr

    out: Wave = soxr.resample(mono, rate_hz, RATE_HZ)
    return out


def to_int16(mono: Wave) -> SoundArray:
    """-1..1 -> int16; what is louder is clipped, never wrapped."""
    samples: SoundArray = np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
    return samples


def _mono(raw: bytes, channels: int, width: int) -> Wave:
    """PCM bytes -> (N,) float32 in -1..1."""
    if width == 1:  # the one unsigned width of WAV
        samples = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128.0) / 128.0
    elif width == 3:
        octets = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        padded = np.zeros((len(octets), 4), np.uint8)
        padded[:, 1:] = octets  # in the upper three bytes, so that the sign is right
        samples = padded.view("<i4")[:, 0].astype(np.float32) / 2.0**31
    else:
        samples = np.frombuffer(raw, f"<i{width}").astype(np.float32) / 2.0 ** (8 * width - 1)
    mono: Wave = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return mono
