"""The microphone, as the recogniser has it: its ear dies, falls silent or lags, at the pipe between them."""

import itertools
import re
import sys
import time
from pathlib import Path

import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense.microphone import PAUSE_S, Microphone
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES

EARS = Path(__file__).with_name("ears.py")


class Scene:
    """A microphone whose ear follows a scenario of ears.py, and what was said and asked meanwhile."""

    def __init__(self, folder, scenario, device):
        self._log, self.said = folder / "lives", []
        command = (sys.executable, str(EARS), scenario, str(self._log))
        self.microphone = Microphone(device, self.said.append, command)

    @property
    def asked(self):
        """The devices that ears were started for, oldest first."""
        return [line.partition(" ")[2] for line in self._log.read_text().splitlines()]

    @property
    def born_s(self):
        """When they were started."""
        return [float(line.split()[0]) for line in self._log.read_text().splitlines()]

    def read_until(self, condition, timeout_s=20.0):
        """The blocks that were read until `condition()`."""
        end_s, blocks = time.monotonic() + timeout_s, []
        while not condition():
            assert time.monotonic() < end_s, f"not in time; said: {self.said}"
            blocks.append(self.microphone.read(0.2))
        return [block for block in blocks if block is not None]

    def levels(self):
        """The mean of each block, to one digit, until there are no more of them."""
        blocks = iter(lambda: self.microphone.read(0.5), None)
        return [round(block.samples.mean() / 32768, 1) for block in blocks]


@pytest.fixture
def scene(tmp_path):
    made = []

    def make(scenario, device=""):
        made.append(Scene(tmp_path, scenario, device))
        made[-1].microphone.start()
        return made[-1]

    yield make
    for one in made:
        one.microphone.stop()


def processes_of(scenario):
    """Ears of this test run that still live."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(EARS).encode() in words and scenario.encode() in words:
            found.append(place)
    return found


def test_blocks_follow_one_another_and_nothing_is_said(scene):
    one = scene("well")
    blocks = [one.microphone.read(5.0) for _ in range(5)]
    assert all(block.samples.shape == (BLOCK_SAMPLES,) for block in blocks)
    steps = [later.t_s - block.t_s for block, later in itertools.pairwise(blocks)]
    assert min(steps) > 0.9 * BLOCK_S
    assert (one.microphone.name, one.microphone.rate_hz) == ("USB Mic: - (hw:1,0)", 16_000)
    assert one.said == []


def test_unplugged_and_plugged_in_again_is_said_once_each_and_heard(scene):
    one = scene("unplugged", "USB Mic")
    seen = one.read_until(lambda: len(one.said) == 3)
    lost, still, back = one.said
    assert lost == (
        "microphone lost: 'USB Mic' has stopped by itself; the arm does not need it; looking for it"
    )
    assert still == "microphone still away: no microphone 'USB Mic'"
    assert re.fullmatch(
        r"microphone back after \d+ s: 'USB Mic: - \(hw:2,0\)', 16000 Hz; voice works again", back
    )
    silence = [block for block in seen if not block.samples.any()]
    steps = [later.t_s - block.t_s for block, later in itertools.pairwise(silence)]
    assert min(steps) >= BLOCK_S  # at the pace of real time
    assert one.microphone.read(5.0).samples.any()
    assert one.asked == ["USB Mic"] * 3
    assert one.microphone.losses == 1


@pytest.mark.parametrize(
    ("device", "then"), [("", "USB Mic: -"), ("7", "USB Mic: -"), ("0d8c:0014", "0d8c:0014")]
)
def test_what_comes_back_is_looked_for_by_what_stays_the_same(scene, device, then):
    one = scene("unplugged", device)
    one.read_until(lambda: len(one.said) == 3)
    assert one.asked == [device, then, then]


def test_a_device_that_gives_no_sound_is_given_up(scene):
    one = scene("speechless")
    one.read_until(lambda: len(one.said) == 2)
    assert one.said[0].startswith(
        "microphone lost: 'USB Mic: - (hw:1,0)' has given no sound for 1 s; is it plugged in?"
    )
    assert one.said[1].startswith("microphone back")
    assert len(processes_of("speechless")) == 1  # the ear that hung was killed


def test_it_is_looked_for_ever_more_seldom(scene):
    one = scene("gone")
    one.read_until(lambda: len(one.asked) == 5)
    pauses_s = [later - born for born, later in itertools.pairwise(one.born_s)]
    assert all(pause_s > least_s for pause_s, least_s in zip(pauses_s, (0.5, 1.0, 2.0, 4.0), strict=True))
    assert len(one.said) == 1


def test_an_ear_that_crashes_is_replaced(scene):
    one = scene("killed")
    one.read_until(lambda: len(one.said) == 2)
    assert "ended by itself (exit code -9)" in one.said[0]
    assert one.said[1].startswith("microphone back")


def test_a_muted_microphone_is_said_and_heard_again_without_opening_it_anew(scene):
    one = scene("muted_and_back")
    one.read_until(lambda: len(one.said) == 2)
    assert "nothing but 0 for 5 s; muted?" in one.said[0]
    assert one.said[1].startswith("microphone back after")
    end_s = time.monotonic() + 2 * PAUSE_S
    one.read_until(lambda: time.monotonic() > end_s)  # and no look for it is still to come
    assert len(one.asked) == 1


def test_a_dead_handle_is_opened_anew_until_there_is_sound_and_said_once(scene):
    one = scene("stale")
    one.read_until(lambda: len(one.said) == 2)
    assert [line[:15] for line in one.said] == ["microphone lost", "microphone back"]
    assert len(one.asked) == 3


def test_clipping_is_said_once_with_what_to_try(scene):
    one = scene("loud")
    one.read_until(lambda: one.said)
    for _ in range(100):
        one.microphone.read(0.05)
    assert len(one.said) == 1
    assert "too loud" in one.said[0]
    assert "alsamixer" in one.said[0]


def test_who_is_far_behind_goes_on_with_the_present(scene):
    one = scene("late")
    # Neither the past nor what came before the present, and a pause for what was skipped.
    assert one.levels() == [0.0] + [0.0] * 17 + [0.5, 0.5]
    assert one.microphone.dropped == 50 + 25
    assert [line[:33] for line in one.said] == ["the recogniser is 5.0 s behind; w"]


def test_where_sound_is_missing_it_goes_on_at_once_at_its_own_time(scene):
    """Two blocks of ten pieces; between them a tenth of a second was lost, and said to be."""
    one = scene("holes")
    blocks = list(iter(lambda: one.microphone.read(0.5), None))
    assert len(blocks) == 3
    steps = [later.t_s - block.t_s for block, later in itertools.pairwise(blocks)]
    assert steps == pytest.approx([BLOCK_S + 0.1, BLOCK_S], abs=1e-3)
    assert (one.microphone.dropped, one.microphone.overflows) == (4, 1)  # totals, not their sum


def test_a_device_that_was_never_there_is_an_error_at_the_start(tmp_path):
    one = Scene(tmp_path, "absent", "nowhere")
    with pytest.raises(VoiceError, match="no microphone 'nowhere'; found: USB Mic"):
        one.microphone.start()
    assert one.said == []
    assert processes_of("absent") == []


def test_stopped_twice_it_leaves_no_process(scene):
    one = scene("well")
    assert len(processes_of("well")) == 1
    one.microphone.stop()
    one.microphone.stop()
    assert processes_of("well") == []


def test_an_ear_that_cannot_be_started_is_an_error(tmp_path):
    with pytest.raises(VoiceError, match="cannot be started"):
        Microphone(ear=(str(tmp_path / "nothing"),)).start()


def test_a_sentence_does_not_go_on_after_the_next_plugging(scene):
    """Half of it before the cable came out, half after: to a recogniser there is a pause between them."""
    one = scene("unplugged", "USB Mic")
    seen = one.read_until(lambda: len(one.said) == 3)
    assert sum(not block.samples.any() for block in seen) * BLOCK_S > 0.5  # Vosk's end of an utterance
