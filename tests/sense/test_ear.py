"""The process that PortAudio runs in, with PortAudio faked at its Python door: a module with a stream."""

import os
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense import ear
from edge_wam.sense.ear import Ring, listen, portaudio, run
from edge_wam.sense.pieces import Decoder, Failed, Opened, Piece


class When(NamedTuple):
    currentTime: float = 0.0
    inputBufferAdcTime: float = 0.0


class Status(NamedTuple):
    input_overflow: bool = False


NO_TIMES, FINE = When(), Status()
FRAMES = 320


class PortAudio(types.ModuleType):
    """A sounddevice with a headset that does `rates`; the test is its sound card, `tape` what it hears."""

    class PortAudioError(Exception):
        pass

    def __init__(self, rates=(16_000,), tape=()):
        super().__init__("sounddevice")
        outer, self.tape, self.tried = self, tape, []

        class RawInputStream:
            active = False

            def __init__(self, *, samplerate, blocksize, channels, dtype, device, callback):
                outer.tried.append(samplerate)
                if samplerate not in rates:
                    raise outer.PortAudioError("Invalid sample rate [PaErrorCode -9997]\nmore")
                assert (channels, dtype, device) == (1, "float32", 1)
                outer.callback, outer.frames = callback, blocksize

            def start(self):
                for value in outer.tape:
                    outer.play(value)

        self.RawInputStream = RawInputStream

    def query_devices(self, device=None, kind=None):
        found = [
            {"name": "HDMI", "max_input_channels": 0, "default_samplerate": 48_000.0, "index": 0},
            {"name": "USB headset", "max_input_channels": 2, "default_samplerate": 44_100.0, "index": 1},
        ]
        if kind is None:
            return found
        if device not in (None, 1, "USB headset", "headset"):
            raise ValueError(f"No input device matching '{device}'")
        return found[1]

    def play(self, value, when=NO_TIMES, status=FINE):
        buffer = bytearray(np.full(self.frames, value, np.float32).tobytes())
        self.callback(buffer, self.frames, when, status)
        buffer[:] = bytes(len(buffer))  # PortAudio uses its buffer again


def put(ring, value, when=NO_TIMES, status=FINE):
    ring.put(np.full(FRAMES, value, np.float32).tobytes(), FRAMES, when, status)


def taken(ring):
    return [Piece(*[piece.samples.copy(), *piece[1:]]) for piece in ring.take(0.0)]


@pytest.fixture
def ring(monkeypatch):
    monkeypatch.setattr(ear.time, "monotonic", lambda: 100.0)
    return Ring(4, FRAMES, 16_000)


def test_what_is_put_in_comes_out_whole_and_in_order(ring):
    for lap in range(5):  # more than once around
        for value in range(3):
            put(ring, lap + value)
        pieces = taken(ring)
        assert [set(piece.samples) for piece in pieces] == [{lap}, {lap + 1}, {lap + 2}]
    assert taken(ring) == []
    assert ring.dropped == 0


def test_the_stamp_is_the_time_of_the_last_sample(ring):
    put(ring, 1, When(50.0, 50.0 - 0.02 - 0.03))  # the first sample is one piece and 30 ms old
    assert taken(ring)[0].t_s == pytest.approx(100.0 - 0.03)


@pytest.mark.parametrize("when", [NO_TIMES, When(50.0, 50.0), When(1e6, 0.0)])
def test_a_driver_without_sensible_times_gets_the_time_of_arrival(ring, when):
    put(ring, 1, when)
    assert taken(ring)[0].t_s == 100.0


def test_what_finds_no_room_is_dropped_and_counted_and_the_rest_is_whole(ring):
    for value in range(6):
        put(ring, value)
    pieces = taken(ring)
    assert [piece.samples[0] for piece in pieces] == [0, 1, 2, 3]
    assert [piece.dropped for piece in pieces] == [2] * 4
    put(ring, 6)
    assert taken(ring)[0].samples[0] == 6


def test_a_piece_is_not_overwritten_while_it_is_read(ring):
    for value in range(4):
        put(ring, value)
    for count, piece in enumerate(ring.take(0.0)):
        put(ring, 9)  # only finds room once this piece has been let go of
        assert piece.samples[0] == (count if count < 4 else 9)
        if count == 6:
            break


def test_overflows_of_portaudio_are_counted(ring):
    put(ring, 1)
    put(ring, 2, status=Status(True))
    assert taken(ring)[-1].overflows == 1


def test_sixteen_kilohertz_is_asked_for_first_and_the_devices_own_rate_after_it():
    able = PortAudio()
    assert listen(able, "")[2] == Opened("USB headset", 16_000)
    assert able.tried == [16_000]
    other = PortAudio(rates=(44_100,))
    assert listen(other, "headset")[2] == Opened("USB headset", 44_100)
    assert other.tried == [16_000, 44_100]
    assert other.frames == 882


def test_a_device_that_refuses_every_rate_says_both_and_who_might_hold_it():
    with pytest.raises(VoiceError, match=r"at 16000 Hz: Invalid.*at 44100 Hz: Invalid.*fuser") as caught:
        listen(PortAudio(rates=()), "")
    assert "\n" not in str(caught.value)


def told(module, monkeypatch, device=""):
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    theirs, pipe = os.pipe()
    run(pipe, device)
    os.close(pipe)
    with os.fdopen(theirs, "rb") as file:
        return Decoder().feed(file.read())


def test_it_tells_what_it_opened_then_the_sound_then_why_it_ended(monkeypatch):
    opened, first, second, failed = told(PortAudio(tape=(0.25, 0.5)), monkeypatch)
    assert opened == Opened("USB headset", 16_000)
    assert (first.samples[0], second.samples[0]) == (0.25, 0.5)
    assert failed == Failed("'USB headset' has stopped by itself; was it unplugged?")


def test_a_device_that_is_not_there_is_told_with_those_that_are(monkeypatch):
    (failed,) = told(PortAudio(), monkeypatch, "USB hedset")
    assert failed.reason == (
        "voice.device: no microphone 'USB hedset' (No input device matching 'USB hedset') "
        "(did you mean 'USB headset'?); found: USB headset"
    )


def test_a_defect_is_told_too(monkeypatch):
    class Broken(PortAudio):
        def query_devices(self, device=None, kind=None):
            raise KeyError("index")

    assert told(Broken(), monkeypatch) == [Failed("KeyError: 'index'")]


def test_it_ends_when_nobody_reads(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", PortAudio(tape=(0.5,)))
    theirs, pipe = os.pipe()
    os.close(theirs)
    run(pipe, "")
    os.close(pipe)


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(VoiceError, match=r"edge-wam\[voice\]"):
        portaudio()


def test_without_the_library_the_message_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(VoiceError, match="libportaudio2"):
        portaudio()


def test_it_does_not_outlive_who_listens_even_in_the_middle_of_portaudio(tmp_path):
    """Killed, not asked, as by the Keeper when the voice process hangs; and PortAudio does not return."""
    (tmp_path / "sounddevice.py").write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'new')!r}).write_text(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'new')!r}, {str(tmp_path / 'pid')!r})\n"
        "time.sleep(60)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    listener = subprocess.Popen(
        [sys.executable, "-c", "from edge_wam.sense.microphone import Microphone as M; M().start()"],
        env={**os.environ, "PYTHONPATH": path},
    )
    wait_until((tmp_path / "pid").exists)
    ear_process = Path("/proc") / (tmp_path / "pid").read_text()
    assert b"edge_wam.sense.ear" in (ear_process / "cmdline").read_bytes()
    listener.kill()
    listener.wait()
    wait_until(lambda: is_over(ear_process))


def wait_until(condition, timeout_s=20.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "not in time"
        time.sleep(0.02)


def is_over(process):
    """Gone, or dead and not looked at yet by whoever inherited it."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
