"""The stage's microphone: what is cued is heard once, by whoever listens then; unplugged, nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.errors import VoiceError
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.sim.cue import CUE, CuedMicrophone
from edge_wam.sim.microphone import sample


@pytest.fixture
def stage():
    with Mailbox.create(private_name("test-cue"), CUE) as cues:

        def give(wav="", unplugged=False):
            record = np.zeros((), CUE)
            record["wav"], record["unplugged"] = str(wav).encode(), unplugged
            cues.put(record)

        yield give


def listening():
    microphone = CuedMicrophone(private_name("test-cue"))
    microphone.start()
    return microphone


def loudest(microphone, blocks=12):
    return max(int(np.abs(microphone.read(1.0).samples).max()) for _ in range(blocks))


def test_a_cue_is_heard_and_not_by_who_comes_later(stage):
    first = listening()
    assert loudest(first, 3) < 200
    stage(sample("en", "pick_red"))
    assert loudest(first) > 1000
    second = listening()  # a voice process that died and is there again
    assert loudest(second) < 200
    first.stop()
    second.stop()


def test_an_unplugged_microphone_gives_nothing_and_cannot_be_opened_until_it_is_back(stage):
    microphone = listening()
    stage(unplugged=True)
    assert [microphone.read(0.1) for _ in range(3)] == [None] * 3
    with pytest.raises(VoiceError, match="plugged in"):
        listening()
    stage(sample("en", "pick_red"))
    assert loudest(microphone) > 1000
    listening().stop()
    microphone.stop()
