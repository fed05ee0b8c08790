"""Speech for the tests of voice: text-to-speech voices that are installed, and a person who listens."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jackd
import numpy as np
import pytest

from edge_wam.clock import ManualClock
from edge_wam.sense.agreed import Recogniser
from edge_wam.sense.cut import CutRecogniser
from edge_wam.sense.listener import Listener, Spoken
from edge_wam.sense.sound import BLOCK_S, RATE_HZ, SoundArray
from edge_wam.sense.sphinx_engine import SphinxRecogniser
from edge_wam.sense.wav import read_wav
from edge_wam.sim.microphone import SimMicrophone

if TYPE_CHECKING:
    from software_camera import Bench

    from edge_wam.sense.realsense import RealSenseCamera

jack = jackd.jack

# Name -> the program and what makes it speak {text} into {file}. None of the English ones spoke a
# sample of edge_wam/sim/samples (flite's slt did), nor of the Mandarin ones (Kokoro-82M's zf_xiaobei did).
VOICES = {
    "flite-rms": ("flite", "-voice", "rms", "-t", "{text}", "-o", "{file}"),
    "flite-awb": ("flite", "-voice", "awb", "-t", "{text}", "-o", "{file}"),
    "festival-kal": ("text2wave", "{in}", "-o", "{file}"),
    "espeak-us": ("espeak-ng", "-v", "en-us", "-s", "150", "-w", "{file}", "{text}"),
    "espeak-gb": ("espeak-ng", "-v", "en-gb", "-s", "150", "-w", "{file}", "{text}"),
    "espeak-f3": ("espeak-ng", "-v", "en-us+f3", "-s", "160", "-w", "{file}", "{text}"),
    "mandarin-f3": ("espeak-ng", "-v", "cmn-latn-pinyin+f3", "-s", "200", "-w", "{file}", "{text}"),
    "mandarin-f1": ("espeak-ng", "-v", "cmn-latn-pinyin+f1", "-s", "200", "-w", "{file}", "{text}"),
    "mandarin-f4": ("espeak-ng", "-v", "cmn-latn-pinyin+f4", "-s", "200", "-w", "{file}", "{text}"),
}

Say = Callable[[str, str], SoundArray]
Hear = Callable[..., list[Spoken]]


@pytest.fixture(scope="session")
def say(tmp_path_factory: pytest.TempPathFactory) -> Say:
    """say(voice, text) -> (N,) int16 at 16 kHz; skips where the voice is not installed."""
    folder = tmp_path_factory.mktemp("said")

    @functools.cache
    def speak(voice: str, text: str) -> SoundArray:
        program, *arguments = VOICES[voice]
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        file, written = folder / "said.wav", folder / "text"
        file.unlink(missing_ok=True)
        written.write_text(text)
        filled = [a.format_map({"text": text, "file": file, "in": written}) for a in arguments]
        done = subprocess.run([program, *filled], capture_output=True, check=False)
        if done.returncode or not file.is_file():
            pytest.skip(f"{program} has no voice {voice}: {done.stderr.decode(errors='replace').strip()}")
        return read_wav(Path(file))

    return speak


@pytest.fixture(scope="session")
def hear() -> Hear:
    """hear(recogniser, sound, ...) -> news, the sounds played one after another by a simulated microphone.
    fast: what is decoded on a thread is waited for, as if the sound took its time."""

    def listen(
        recogniser: Recogniser, *sounds: SoundArray, pause_s: float = 1.5, fast: bool = True
    ) -> list[Spoken]:
        if isinstance(recogniser, CutRecogniser | SphinxRecogniser):
            recogniser.later.in_time_of_sound = fast
        quiet = np.zeros(round(pause_s * RATE_HZ), np.int16)
        tape = np.concatenate([piece for sound in sounds for piece in (sound, quiet)])
        microphone, listener = SimMicrophone(tape, ManualClock()), Listener(recogniser)
        microphone.start()
        news: list[Spoken] = []
        while not microphone.spoken:
            block = microphone.read(2 * BLOCK_S)
            assert block is not None
            news += listener.hear(block)
        return news

    return listen


@pytest.fixture
def bench() -> Bench:
    """A software RealSense in a context of its own."""
    from software_camera import Bench

    return Bench().add()


@pytest.fixture
def opened() -> Iterator[Callable[..., RealSenseCamera]]:
    """Starts cameras and stops them afterwards."""
    from software_camera import opening

    with opening() as start:
        yield start
