"""The microphone on a real PortAudio, in real time: JACK without a sound card, and a player beside it.

JACK's dummy driver keeps the pace of a sound card. What cannot keep that pace (another load on the machine)
is an "XRun" in its log, and is played again. In its synchronous mode the server waits for its clients.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import player
import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense.microphone import Microphone
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ
from edge_wam.sense.wav import resample, to_int16

TAKES = 5
CYCLE_S = 0.02
# PortAudio takes a float times 32767, or so; soxr's dither-free rounding is on top.
LAST_BITS = 2


def knows_jack():
    """Whether there is a PortAudio that finds the JACK server which runs."""
    look = "import sounddevice as s; print([api['name'] for api in s.query_hostapis()])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False)
    return "JACK" in done.stdout


class Jack:
    """A JACK server of the test's own, and the player in it: a USB microphone that can be pulled out."""

    def __init__(self, folder, rate_hz):
        self.rate_hz, self._log = rate_hz, folder / "jackd.log"
        self._server = self._player = None

    def plug_in(self):
        name, cycle = os.environ["JACK_DEFAULT_SERVER"], str(round(CYCLE_S * self.rate_hz))
        driver = ("-d", "dummy", "-r", str(self.rate_hz), "-p", cycle, "-C", "1", "-P", "2")
        with self._log.open("w") as log:
            self._server = subprocess.Popen(
                ["jackd", "-n", name, "-r", "-S", "-t", "5000", "--no-mlock", *driver], stdout=log, stderr=log
            )
        if subprocess.run(["jack_wait", "-s", name, "-w", "-t", "10"], capture_output=True).returncode:
            pytest.skip(f"jackd does not run here: {self._log.read_text()[-300:]}")
        self._player = subprocess.Popen(
            [sys.executable, player.__file__, str(self.rate_hz)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        line = self._player.stdout.readline()
        if not line and not knows_jack():
            pytest.skip("no PortAudio with JACK here; try: sudo apt install libportaudio2")

    def pull_out(self):
        """Both killed, without a word to anybody. (A server that is asked to end may wait for the dead.)"""
        for process in (self._player, self._server):
            if process is not None:
                process.kill()
                process.wait()
                for file in (process.stdin, process.stdout):
                    if file is not None:
                        file.close()
        self._server = self._player = None

    def cycles(self):
        """(when it was handed over, the number of its first sample) of the player's cycles; it ends."""
        lines = self._player.communicate(b"", timeout=30)[0].decode().split("\n")
        return [(float(t_s), int(first)) for t_s, first in (line.split() for line in lines if line)]

    def xruns(self):
        return self._log.read_text().count("XRun")


@pytest.fixture
def jack(tmp_path, monkeypatch):
    if shutil.which("jackd") is None or shutil.which("jack_wait") is None:
        pytest.skip("no jackd here; try: sudo apt install jackd2")
    # One name for ever: a killed server keeps one of JACK's eight places until it is started anew.
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "edge-wam-test")
    monkeypatch.setenv("JACK_NO_AUDIO_RESERVATION", "1")
    made = []

    def make(rate_hz):
        made.append(Jack(tmp_path, rate_hz))
        made[-1].plug_in()
        return made[-1]

    with (Path(tempfile.gettempdir()) / "edge-wam-test-jack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test run of this machine
        yield make
        for one in made:
            one.pull_out()


def played_at(rate_hz):
    """The tape as a recogniser should get it, twice over (it is played in a circle)."""
    return to_int16(resample(np.tile(player.tape(rate_hz), 2), rate_hz)).astype(int)


def place_of(sound, wanted):
    """Where in `wanted` the sound begins."""
    length = len(wanted) + len(sound)
    spectrum = np.fft.rfft(wanted, length) * np.conj(np.fft.rfft(sound, length))
    return int(np.fft.irfft(spectrum, length)[: len(wanted) - len(sound)].argmax())


def listen(microphone, seconds):
    """Blocks, and how long after its last sample each could be had."""
    blocks, lags_s = [], []
    while len(blocks) * BLOCK_S < seconds:
        block = microphone.read(5.0)
        assert block is not None
        blocks.append(block)
        lags_s.append(time.monotonic() - block.t_s)
    return blocks, lags_s


def whole_take(server, microphone, seconds, wanted):
    """Blocks, lags, and where in `wanted` they are, sample by sample; JACK alone may excuse a missing one."""
    for _ in range(TAKES):
        listen(microphone, 0.5)  # soxr begins from silence; what was played before is not in it
        before = server.xruns()
        blocks, lags_s = listen(microphone, seconds)
        heard = np.concatenate([block.samples for block in blocks]).astype(int)
        begin = place_of(heard, wanted)
        if np.abs(heard - wanted[begin : begin + len(heard)]).max() <= LAST_BITS:
            return blocks, lags_s, begin
        assert server.xruns() > before, "samples are missing or wrong, and JACK was in time"
    pytest.skip(f"this machine did not keep JACK's pace in any of {TAKES} takes")


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_sound_in_is_sound_out_to_the_last_sample_and_at_its_time(jack, rate_hz):
    server, said = jack(rate_hz), []
    microphone = Microphone("PortAudio", said.append)
    microphone.start()
    blocks, lags_s, begin = whole_take(server, microphone, 3.0, played_at(rate_hz))
    microphone.stop()
    assert (microphone.rate_hz, microphone.dropped, microphone.losses, said) == (rate_hz, 0, 0, [])
    cycles, length = server.cycles(), player.SECONDS * rate_hz

    def handed_over_s(index, near_s):
        """When the player gave the sample that lies under the last one of a block; the time round nearest."""
        under = (begin + (index + 1) * BLOCK_SAMPLES - 1) * rate_hz // RATE_HZ
        fits = [t_s for t_s, first in cycles if (under - first) % length < round(CYCLE_S * rate_hz)]
        return min(fits, key=lambda t_s: abs(t_s - near_s))

    off_s = np.median([block.t_s - handed_over_s(index, block.t_s) for index, block in enumerate(blocks)])
    print(
        f"\n{rate_hz} Hz: {len(blocks) * BLOCK_S:.1f} s whole; had {1e3 * np.median(lags_s):.1f} ms (at most "
        f"{1e3 * max(lags_s):.1f}) after a block's last sample; stamps off by {1e3 * off_s:+.1f} ms"
    )
    assert abs(off_s) < CYCLE_S / 2


def test_a_server_killed_and_started_again_is_lost_and_heard_again(jack):
    server, said = jack(16_000), []
    microphone = Microphone("PortAudio", said.append)
    microphone.start()
    listen(microphone, 0.5)
    server.pull_out()
    end_s = time.monotonic() + 20.0
    while not any("still away" in line for line in said):  # nobody has plugged it in yet
        assert time.monotonic() < end_s, said
        began_s = time.monotonic()
        microphone.read(0.2)
        assert time.monotonic() - began_s < 2.0  # whatever PortAudio does, it has its own process for it
    assert said[0].startswith("microphone lost: 'PortAudio'")
    server.plug_in()
    end_s = time.monotonic() + 40.0
    while not said[-1].startswith("microphone back"):
        assert time.monotonic() < end_s, said
        microphone.read(0.2)
    whole_take(server, microphone, 2.0, played_at(16_000))
    microphone.stop()
    assert microphone.losses == 1


def test_a_name_that_nothing_has_is_refused_with_what_there_is(jack):
    jack(16_000)
    with pytest.raises(VoiceError, match=r"no microphone 'hedset'.*found: system, PortAudio"):
        Microphone("hedset").start()
