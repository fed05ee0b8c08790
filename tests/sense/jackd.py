"""A JACK server of the tests' own, and a program that plays in it: a USB microphone that can be pulled out.

JACK's dummy driver keeps the pace of a sound card. In its synchronous mode the server waits for its clients.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import player
import pytest

CYCLE_S = 0.02


def knows_jack():
    """Whether there is a PortAudio that finds the JACK server which runs."""
    look = "import sounddevice as s; print([api['name'] for api in s.query_hostapis()])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False)
    return "JACK" in done.stdout


class Jack:
    """A server, and in it the player, or another `program` that plays: its input and output are pipes."""

    def __init__(self, folder, rate_hz, program=player.__file__):
        self.rate_hz, self._log, self._program = rate_hz, folder / "jackd.log", program
        self._server = self.player = None

    def plug_in(self):
        name, cycle = os.environ["JACK_DEFAULT_SERVER"], str(round(CYCLE_S * self.rate_hz))
        driver = ("-d", "dummy", "-r", str(self.rate_hz), "-p", cycle, "-C", "1", "-P", "2")
        with self._log.open("w") as log:
            self._server = subprocess.Popen(
                ["jackd", "-n", name, "-r", "-S", "-t", "5000", "--no-mlock", *driver], stdout=log, stderr=log
            )
        if subprocess.run(["jack_wait", "-s", name, "-w", "-t", "10"], capture_output=True).returncode:
            pytest.skip(f"jackd does not run here: {self._log.read_text()[-300:]}")
        self.player = subprocess.Popen(
            [sys.executable, self._program, str(self.rate_hz)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        line = self.player.stdout.readline()
        if not line and not knows_jack():
            pytest.skip("no PortAudio with JACK here; try: sudo apt install libportaudio2")

    def pull_out(self):
        """Both killed, without a word to anybody. (A server that is asked to end may wait for the dead.)"""
        for process in (self.player, self._server):
            if process is not None:
                process.kill()
                process.wait()
                for file in (process.stdin, process.stdout):
                    if file is not None:
                        file.close()
        self._server = self.player = None

    def cycles(self):
        """(when it was handed over, the number of its first sample) of the player's cycles; it ends."""
        lines = self.player.communicate(b"", timeout=30)[0].decode().split("\n")
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

    def make(rate_hz, program=player.__file__):
        made.append(Jack(tmp_path, rate_hz, program))
        made[-1].plug_in()
        return made[-1]

    with (Path(tempfile.gettempdir()) / "edge-wam-test-jack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test run of this machine
        yield make
        for one in made:
            one.pull_out()
