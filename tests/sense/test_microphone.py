"""The real microphone's code, with PortAudio faked at its Python door: a module with a stream."""

import sys
import types
from typing import NamedTuple

import numpy as np
import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense import microphone as door
from edge_wam.sense.microphone import Microphone
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ


class When(NamedTuple):
    currentTime: float = 0.0
    inputBufferAdcTime: float = 0.0


class Status(NamedTuple):
    input_overflow: bool = False


NO_TIMES, FINE = When(), Status()


class PortAudio(types.ModuleType):
    """A sounddevice with one microphone, 'USB headset'; the test is its sound card."""

    class PortAudioError(Exception):
        pass

    def __init__(self):
        super().__init__("sounddevice")
        self.opened = self.closed = 0
        outer = self

        class RawInputStream:
            def __init__(self, *, samplerate, blocksize, channels, dtype, device, callback):
                if device not in (None, 0, "USB headset"):
                    raise outer.PortAudioError(f"No input device matching '{device}'\nmore")
                assert (samplerate, blocksize, channels, dtype) == (RATE_HZ, BLOCK_SAMPLES, 1, "int16")
                outer.callback = callback

            def start(self):
                outer.opened += 1

            def abort(self):
                pass

            def close(self):
                outer.closed += 1

        self.RawInputStream = RawInputStream

    def query_devices(self):
        return [
            {"name": "USB headset", "max_input_channels": 1},
            {"name": "HDMI", "max_input_channels": 0},
        ]

    def play(self, value, when=NO_TIMES, status=FINE):
        buffer = bytearray(np.full(BLOCK_SAMPLES, value, np.int16).tobytes())
        self.callback(buffer, BLOCK_SAMPLES, when, status)
        buffer[:] = bytes(len(buffer))  # PortAudio uses its buffer again


@pytest.fixture
def portaudio(monkeypatch):
    fake = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(door.time, "monotonic", lambda: 100.0)
    return fake


def test_blocks_are_copied_and_carry_the_time_of_their_last_sample(portaudio):
    microphone = Microphone()
    microphone.start()
    portaudio.play(7, When(50.0, 50.0 - BLOCK_S - 0.02))  # the first sample is a block and 20 ms old
    block = microphone.read(1.0)
    assert (block.samples == 7).all()
    assert block.t_s == pytest.approx(100.0 - 0.02)


def test_a_driver_without_times_gets_the_time_of_arrival(portaudio):
    microphone = Microphone()
    microphone.start()
    portaudio.play(7)
    assert microphone.read(1.0).t_s == 100.0


def test_silence_of_the_callback_is_none(portaudio):
    microphone = Microphone("0")
    microphone.start()
    assert microphone.read(0.0) is None


def test_sound_that_nobody_reads_is_dropped_and_counted(portaudio):
    microphone = Microphone()
    microphone.start()
    for index in range(60):
        portaudio.play(index, status=Status(index == 3))
    assert microphone.dropped == 10
    assert microphone.overflows == 1
    assert microphone.read(1.0).samples[0] == 0


def test_a_microphone_gone_flat_is_an_error_and_a_quiet_one_is_not(portaudio):
    microphone = Microphone()
    microphone.start()

    def play(values):
        for value in values:
            portaudio.play(value)
            microphone.read(1.0)

    play([0, 1] * 100)
    with pytest.raises(VoiceError, match="nothing but 0"):
        play([0] * 100)


def test_a_device_that_is_not_there_names_those_that_are(portaudio):
    with pytest.raises(VoiceError, match=r"did you mean 'USB headset'.*found: USB headset$") as caught:
        Microphone("USB hedset").start()
    assert "\n" not in str(caught.value)


def test_it_is_closed_once(portaudio):
    microphone = Microphone("USB headset")
    microphone.stop()
    microphone.start()
    microphone.stop()
    microphone.stop()
    assert (portaudio.opened, portaudio.closed) == (1, 1)


def test_without_portaudio_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(VoiceError, match=r"edge-wam\[voice\]"):
        Microphone().start()
