"""The microphone on a real PortAudio, in real time: JACK without a sound card, and a player beside it.

JACK's dummy driver keeps the pace of a sound card. What cannot keep that pace (another load on the machine)
is an "XRun" in its log, and is played again. In its synchronous mode the server waits for its clients.
"""

import time

import numpy as np
import player
import pytest
from jackd import CYCLE_S

from edge_wam.errors import VoiceError
from edge_wam.sense.microphone import Microphone
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ
from edge_wam.sense.wav import resample, to_int16

TAKES = 5
# PortAudio takes a float times 32767, or so; soxr's dither-free rounding is on top.
LAST_BITS = 2


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
