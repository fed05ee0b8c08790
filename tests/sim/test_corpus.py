"""Tapes: the ratio is the one asked for, STOP ends where it is said to, a seed makes every sample."""

import numpy as np
import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense.grammar import STOP_WORDS, key
from edge_wam.sense.sound import RATE_HZ
from edge_wam.sense.wav import write_wav
from edge_wam.sim import corpus, noise, speakers, tasks
from edge_wam.sim.corpus import CONDITIONS, Condition, around, meant, record, recordings
from edge_wam.sim.sentences import EVERYDAY, LANGUAGES, Said, said
from edge_wam.sim.speakers import MANNERS, Manner, stop_word, trimmed

TONE = np.sin(2 * np.pi * 300 * np.arange(RATE_HZ) / RATE_HZ)
NOISY = [condition for condition in CONDITIONS if condition.snr_db is not None]


def speech(seconds=1.0, silence_s=0.3, stop_end=None):
    """A tone between two silences."""
    quiet = np.zeros(round(silence_s * RATE_HZ))
    sound = np.concatenate([quiet, 3000 * np.resize(TONE, round(seconds * RATE_HZ)), quiet])
    return trimmed(sound.astype(np.int16), stop_end)


def talker(rng):
    return rng.standard_normal(RATE_HZ)


TALKERS = [talker] * 3


def tape_of(condition, seed=(0,), stop_end=None):
    parts = [(Said("stop", "stop"), speech(0.5 + i / 4, stop_end=stop_end)) for i in range(4)]
    return record(parts, condition, TALKERS, seed)


def part_of(tape, index):
    one = tape.utterances[index]
    return slice(round(one.begin_s * RATE_HZ), round(one.end_s * RATE_HZ))


@pytest.mark.parametrize("condition", NOISY, ids=lambda condition: condition.name)
def test_each_sentence_stands_as_far_above_its_noise_as_was_asked(condition):
    tape = tape_of(condition)
    other = around(condition, len(tape.samples), TALKERS, (0,))
    for index in range(4):
        part = part_of(tape, index)
        spoken = tape.samples[part] - other[part]
        found_db = 20 * np.log10(noise.rms(spoken) / noise.rms(other[part]))
        assert found_db == pytest.approx(condition.snr_db, abs=0.1)


def test_in_a_quiet_room_everybody_is_as_loud_and_the_gaps_are_the_room():
    tape = tape_of(CONDITIONS[0])
    for index in range(4):
        assert noise.rms(tape.samples[part_of(tape, index)].astype(float)) == pytest.approx(
            corpus.SPEECH_RMS, rel=0.01
        )
    before, after = tape.utterances[0].end_s, tape.utterances[1].begin_s
    gap = tape.samples[round((before + 0.1) * RATE_HZ) : round((after - 0.1) * RATE_HZ)]
    assert noise.rms(gap.astype(float)) == pytest.approx(corpus.ROOM_RMS, rel=0.1)
    assert after - before == pytest.approx(0.6 + 2.5, abs=0.5)  # silences around the speech, and the pause


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
def test_the_same_seed_gives_the_same_samples_and_another_one_others(condition):
    one, again, other = tape_of(condition), tape_of(condition), tape_of(condition, seed=(1,))
    assert np.array_equal(one.samples, again.samples)
    assert one.utterances == again.utterances
    assert not np.array_equal(one.samples, other.samples[: len(one.samples)])


def test_stop_ends_on_the_tape_where_it_ended_in_the_speech():
    ends = round(0.6 * RATE_HZ)
    tape = tape_of(Condition("clean"), stop_end=ends)
    for one in tape.utterances:
        assert one.stop_end_s - one.begin_s == pytest.approx(0.6 - 0.3, abs=0.001)
    assert tape_of(Condition("clean")).utterances[0].stop_end_s is None


def test_a_word_ends_where_it_falls_silent_not_where_its_segment_does():
    heard = speech(1.0, 0.3, stop_end=round(1.5 * RATE_HZ))
    assert heard.begin == pytest.approx(0.3 * RATE_HZ, abs=160)
    assert heard.end == pytest.approx(1.3 * RATE_HZ, abs=160)
    assert heard.stop_end == heard.end
    with pytest.raises(VoiceError, match="silence"):
        trimmed(np.zeros(RATE_HZ, np.int16), None)


def test_an_echo_decays_by_60_db_in_its_time_and_leaves_the_direct_sound_in_place():
    response = noise.echo(0.4, 3.0, np.random.default_rng(0))
    assert response[0] == 1.0
    assert len(response) == round(0.4 * RATE_HZ)
    assert 10 * np.log10(np.sum(response[1:] ** 2)) == pytest.approx(-3.0, abs=0.01)
    early, late = response[320:1920], response[3520:5120]  # 0.2 s apart: half of the time, 30 dB
    assert 20 * np.log10(noise.rms(early) / noise.rms(late)) == pytest.approx(30.0, abs=1.0)
    click = np.zeros(1000)
    click[100] = 1.0
    assert np.argmax(np.abs(noise.convolved(click, response))) == 100


def test_pink_noise_falls_by_3_db_an_octave():
    power = np.abs(np.fft.rfft(noise.pink(1 << 18, np.random.default_rng(0)))) ** 2
    hz = np.fft.rfftfreq(1 << 18, 1 / RATE_HZ)
    octaves = [power[(hz >= low) & (hz < 2 * low)].mean() for low in (100, 200, 400, 800, 1600)]
    assert np.diff(10 * np.log10(octaves)) == pytest.approx([-3.0] * 4, abs=0.5)


@pytest.mark.parametrize("make", [noise.servos, noise.music, noise.pink])
def test_noise_is_as_loud_as_it_says(make):
    sound = make(5 * RATE_HZ, np.random.default_rng(0))
    assert sound.shape == (5 * RATE_HZ,)
    assert noise.rms(sound) == pytest.approx(1.0)


def test_servos_sweep():
    """Not one steady hum: where the loudest frequency lies changes from one half second to the next."""
    frames = noise.servos(8 * RATE_HZ, np.random.default_rng(0)).reshape(16, -1)
    loudest = np.abs(np.fft.rfft(frames)).argmax(axis=1)
    assert len(set(loudest.tolist())) > 8


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_said_is_what_it_is_called(language):
    every = said(language, np.random.default_rng(0))
    phrases = {key(text): c.id for c in tasks.commands() for text in c.phrases[language]}
    assert len(every["command"]) >= 40
    assert {one.command for one in every["command"]} == {c.id for c in tasks.commands()}
    assert all(phrases[key(one.text)] == one.command for one in every["command"])
    assert not any(key(one.text) in phrases for kind in ("decoy", "reworded") for one in every[kind])
    assert not any("{" in one.text for those in every.values() for one in those)
    assert not any(one.command for kind in ("decoy", "stop", "stop_in") for one in every[kind])
    for kind, those in every.items():
        assert all((stop_word(one.text, language) is not None) == kind.startswith("stop") for one in those)
    assert not any(stop_word(text, language) for text in EVERYDAY[language])


def test_the_longest_stop_word_is_the_one_that_was_said():
    assert stop_word("快停下来", "zh") == (1, 3)
    assert stop_word("please stop it", "en") == (7, 11)
    assert stop_word("go home", "en") is None
    assert {"停", "停下"} <= set(STOP_WORDS["zh"])


@pytest.mark.parametrize("voice", speakers.VOICES, ids=lambda voice: voice.name)
def test_a_voice_tells_where_stop_ends_within_the_sentence(voice, monkeypatch, tmp_path):
    if voice not in speakers.installed(voice.language):
        pytest.skip(f"{voice.program} is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    alone, within = ("stop", "please stop the arm") if voice.language == "en" else ("停下", "快停下来")
    one = speakers.say(voice, alone, Manner())
    assert one.end - one.stop_end < 0.1 * RATE_HZ  # the last word: it ends with the speech
    one = speakers.say(voice, within, Manner())
    assert one.begin + 0.3 * RATE_HZ < one.stop_end < one.end - 0.15 * RATE_HZ
    kept = speakers.say(voice, within, Manner())
    assert np.array_equal(kept.samples, one.samples)
    for file in speakers.cache_folder().iterdir():
        file.unlink()
    again = speakers.say(voice, within, Manner())  # said anew: the very same
    assert np.array_equal(again.samples, one.samples)
    assert again == one._replace(samples=again.samples)
    assert len(speakers.say(voice, within, MANNERS[1]).samples) > len(one.samples)  # slower


def test_recordings_are_found_with_their_words(tmp_path):
    for name in ("a.wav", "b.wav", "nobody-wrote-down.wav"):
        write_wav(tmp_path / name, speech().samples)
    (tmp_path / "a.txt").write_text("Pick up the red cube.\n")
    (tmp_path / "more.tsv").write_text("b.wav\tplease stop the arm\t0.75\n")
    found = recordings(tmp_path)
    assert [(one.path.name, one.text, one.stop_end_s) for one in found] == [
        ("b.wav", "please stop the arm", 0.75),
        ("a.wav", "Pick up the red cube.", None),
    ]
    tape = corpus.recorded(found, "en", CONDITIONS[0], 0, 0)
    kinds = {one.said.kind: one for one in tape.utterances}
    assert kinds["command"].said.command == "pick_red"
    assert kinds["stop_in"].stop_end_s - kinds["stop_in"].begin_s == pytest.approx(0.45, abs=0.02)


@pytest.mark.parametrize("line", ["b.wav", "b.wav\tstop\tsoon", "b.wav\tstop\t1.0\tmore"])
def test_a_line_that_is_none_is_named(tmp_path, line):
    (tmp_path / "more.tsv").write_text(f"a.wav\tstop\n{line}\n")
    with pytest.raises(VoiceError, match=r"more.tsv:2: expected file, text"):
        recordings(tmp_path)


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(VoiceError, match="found none"):
        recordings(tmp_path)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Stop!", "en", ("stop", "")),
        ("please stop", "en", ("stop_in", "")),
        ("Grab the red cube.", "en", ("command", "pick_red")),
        ("do not grab the red cube", "en", ("decoy", "")),
        ("别动", "zh", ("stop", "")),
        ("拿起红色方块", "zh", ("command", "pick_red")),
    ],
)
def test_what_a_recording_means_follows_from_its_words(text, language, expected):
    found = meant(text, language)
    assert (found.kind, found.command) == expected
