"""Where an utterance begins and ends, with a voice detector that takes everything for a voice."""

import numpy as np
import pytest

from edge_wam.sense.ends import FRAME_BYTES, FRAME_S, Ends

SAMPLES = FRAME_BYTES // 2


def sound(*parts, seed=0):
    """(rms, frames), ... of noise, one after another."""
    rng = np.random.default_rng(seed)
    return [
        rng.normal(0, rms, SAMPLES).astype(np.int16).tobytes() for rms, frames in parts for _ in range(frames)
    ]


def utterances(ends, frames):
    """(begin_s, end_s, speech) of each that ended."""
    found, said = [], []
    for frame in frames:
        piece = ends.process(frame)
        if piece is not None:
            said.append(piece)
            if not ends.in_speech:
                found.append((ends.begin_s, ends.end_s, b"".join(said)))
                said = []
    return found


def always():
    return Ends(lambda frame: True)


@pytest.mark.parametrize("room", [0, 16, 300, 1000])
def test_speech_is_what_stands_10_db_out_of_the_room(room):
    loud = max(3.16 * room, 500)
    frames = sound((room, 150), (loud, 40), (room, 60), (loud, 15), (room, 60))
    (first, second) = utterances(always(), frames)
    assert first[0] == pytest.approx(150 * FRAME_S, abs=0.01)
    assert first[1] == pytest.approx(190 * FRAME_S, abs=0.01)
    assert second[0] == pytest.approx(250 * FRAME_S, abs=0.01)
    assert second[1] == pytest.approx(265 * FRAME_S, abs=0.01)


def test_the_speech_is_whole_with_the_silence_that_ended_it():
    frames = sound((16, 100), (2000, 20), (16, 40))
    ((_, _, speech),) = utterances(always(), frames)
    assert speech == b"".join(frames[100:130])


def test_a_room_however_loud_is_no_speech():
    for rms in (16, 300, 3000):
        assert utterances(always(), sound((rms, 400))) == []


def test_a_room_that_grows_louder_is_speech_for_no_more_than_a_few_seconds():
    ends = always()
    utterances(ends, sound((50, 200), (500, 400)))
    assert not ends.in_speech


def test_a_click_is_no_speech_and_a_short_word_is():
    assert utterances(always(), sound((16, 100), (3000, 4), (16, 60))) == []
    ((_, end_s, _),) = utterances(always(), sound((16, 100), (3000, 5), (16, 60)))
    assert end_s == pytest.approx(105 * FRAME_S)
    assert utterances(always(), sound((0, 150), (40, 40), (0, 60))) == []  # a microphone's own noise


def test_a_gap_within_a_word_does_not_end_it_and_a_third_of_a_second_does():
    assert len(utterances(always(), sound((16, 100), (2000, 10), (16, 9), (2000, 10), (16, 60)))) == 1
    assert len(utterances(always(), sound((16, 100), (2000, 10), (16, 10), (2000, 10), (16, 60)))) == 2


def test_what_is_loud_but_no_voice_is_no_speech():
    assert utterances(Ends(lambda frame: False), sound((16, 100), (3000, 40), (16, 60))) == []


def test_an_utterance_that_does_not_end_is_ended():
    frames = sound((16, 100), *[(2000, 9), (16, 6)] * 40)
    (begin_s, _, speech), *rest = utterances(always(), frames)
    assert len(speech) // FRAME_BYTES == 267
    assert 267 * FRAME_S <= rest[0][0] - begin_s <= 267 * FRAME_S + 0.5  # nothing is heard twice


def test_silence_before_the_room_is_known():
    ends = always()
    assert utterances(ends, sound((0, 3), (2000, 20), (0, 60)))[0][0] == pytest.approx(3 * FRAME_S, abs=0.035)


def test_how_long_it_has_been_quiet_is_counted_from_the_last_frame_that_stood_out():
    ends = always()
    for frame in sound((16, 100), (2000, 10), (16, 3)):
        ends.process(frame)
    assert ends.in_speech
    assert ends.quiet == 3


def told(*frames_of):
    """An end-pointer that is told which frames are a voice, as one who knows."""
    marks = iter([mark for mark, count in frames_of for _ in range(count)])
    return Ends(lambda frame: next(marks), knows_voices=True)


def test_who_knows_voices_keeps_the_soft_end_of_a_word_in_noise():
    ends = told((False, 100), (True, 40), (False, 60))
    ((_, end_s, _),) = utterances(ends, sound((1000, 100), (2000, 30), (1100, 10), (1000, 60)))
    assert end_s == pytest.approx(140 * FRAME_S)


def test_where_voices_are_all_there_is_to_hear_speech_has_to_stand_out_of_them():
    ends = told((True, 700))
    found = utterances(ends, sound((500, 300), (2000, 40), (500, 360)))
    begin_s, end_s, _ = found[-1]
    assert begin_s == pytest.approx(300 * FRAME_S, abs=0.01)
    assert end_s == pytest.approx(340 * FRAME_S, abs=0.01)


def test_who_talks_for_four_seconds_after_a_pause_is_no_crowd():
    ends = told((False, 130), (True, 130), (False, 60))
    ((begin_s, end_s, _),) = utterances(ends, sound((20, 130), (1000, 130), (20, 60)))
    assert (begin_s, end_s) == (pytest.approx(130 * FRAME_S), pytest.approx(260 * FRAME_S))


def test_who_speaks_first_of_all_is_no_crowd():
    ends = told((True, 60), (False, 40))
    ((_, end_s, _),) = utterances(ends, sound((2000, 40), (300, 20), (20, 40)))
    assert end_s == pytest.approx(60 * FRAME_S)
