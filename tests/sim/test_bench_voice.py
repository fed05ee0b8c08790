"""The counting, with a listener whose words are written by hand; and all of it once, with pocketsphinx."""

import itertools
import json

import numpy as np
import pytest

from edge_wam.config import home
from edge_wam.errors import VoiceError
from edge_wam.sense.sound import BLOCK_S, RATE_HZ
from edge_wam.sense.voice import Spoken
from edge_wam.sim import bench_voice, score_voice, speakers
from edge_wam.sim.bench_voice import Listened, Meant, Outcome, Quiet, Told, entrants, hush, judge, play, tasks
from edge_wam.sim.corpus import CONDITIONS, Tape, Utterance
from edge_wam.sim.sentences import Said
from edge_wam.types import Words

MODEL = home() / "models/so101-tabletop"


def words(text, t_s, final=True):
    return Words(text, t_s, 1.0, final, "en")


class HandMade:
    """A listener that says a line at the first block that ends after its time."""

    def __init__(self, *lines):
        self._lines = list(lines)

    def hear(self, block):
        news = []
        while self._lines and self._lines[0][0] <= block.t_s + 1e-9:
            t_s, text, final, stop = self._lines.pop(0)
            news.append(Spoken(words(text, t_s, final), stop))
        return news


def understand(heard):
    """ "red" is pick_red, "red?" is a question about it."""
    text = heard.text
    return (
        Meant("pick_" + text.rstrip("?"), text.endswith("?")) if text.rstrip("?") in ("red", "blue") else None
    )


def tape(*sentences):
    """Each lasts one second and begins every five; STOP ends half a second into it."""
    utterances = tuple(
        Utterance(one, 5.0 * i, 5.0 * i + 1, 5.0 * i + 0.5 if one.kind == "stop" else None)
        for i, one in enumerate(sentences)
    )
    return Tape(np.zeros(5 * len(sentences) * RATE_HZ, np.int16), utterances)


RED, BLUE, STOP = (
    Said("command", "red", "pick_red"),
    Said("command", "blue", "pick_blue"),
    Said("stop", "stop"),
)
DECOY = Said("decoy", "not red")


def outcomes(sentences, *told):
    return judge(tape(*sentences), [Told(*one) for one in told], understand, "it", "clean", "somebody")


def test_news_is_out_when_its_block_is_and_the_machine_is_done():
    clock = itertools.count()  # a block takes a "second" of a machine that is far too slow
    told, cpu_s = play(
        tape(RED), HandMade((0.06, "a", True, False), (0.12, "b", True, True)), lambda: next(clock)
    )
    assert [one.out_s for one in told] == pytest.approx([BLOCK_S + 1, BLOCK_S + 2])  # the second one queued
    assert [(one.words.text, one.stop) for one in told] == [("a", False), ("b", True)]
    assert cpu_s == int(5 / BLOCK_S)
    told, _ = play(tape(RED), HandMade((0.10, "a", True, False)), lambda: 0.0)
    assert told[0].out_s == pytest.approx(2 * BLOCK_S)


def test_a_command_is_right_wrong_or_refused():
    right, wrong, refused = outcomes(
        (RED, RED, RED),
        (1.5, words("red", 1.0), False),
        (6.5, words("blue", 6.0), False),
        (11.5, words("[unk]", 11.0), False),
    )
    assert (right.right, right.wrong, right.asked) == (True, False, False)
    assert right.late_s == pytest.approx(0.5)
    assert (wrong.right, wrong.wrong, wrong.late_s) == (False, True, None)
    assert (refused.right, refused.wrong, refused.heard) == (False, False, "[unk]")


def test_news_belongs_to_the_sentence_that_its_words_ended_in_however_late_it_is_out():
    first, second = outcomes((RED, BLUE), (5.9, words("red", 1.1), False), (6.5, words("blue", 6.0), False))
    assert first.right
    assert second.right
    (first,) = outcomes((RED,), (0.1, words("blue", -0.5), False))
    assert first.wrong  # before anybody spoke


def test_doing_it_and_something_else_is_wrong():
    (one,) = outcomes((RED,), (1.5, words("red", 1.0), False), (2.5, words("blue", 2.0), False))
    assert (one.right, one.wrong) == (False, True)


def test_a_question_is_answered_truthfully_and_only_one_is_asked():
    yes, no, two = outcomes(
        (RED, RED, RED),
        (1.5, words("red?", 1.0), False),
        (6.5, words("blue?", 6.0), False),
        *((11.5, words("blue?", 11.0), False), (12.5, words("red?", 12.0), False)),
    )
    assert (yes.right, yes.wrong, yes.asked) == (True, False, True)
    assert (no.right, no.wrong, no.asked) == (False, False, True)
    assert (two.right, two.wrong, two.asked) == (False, False, True)


def test_whatever_is_done_on_a_sentence_that_is_no_command_is_wrong_unless_it_was_asked():
    done, asked = outcomes((DECOY, DECOY), (1.5, words("red", 1.0), False), (6.5, words("red?", 6.0), False))
    assert done.wrong
    assert not asked.wrong


def test_stop_is_late_by_the_time_from_its_end_to_the_first_news():
    in_time, early, missed = outcomes(
        (STOP, STOP, STOP),
        *((0.75, words("stop", 0.72, False), True), (1.5, words("stop", 1.0), True)),
        (5.4, words("stop", 5.4, False), True),
        (11.0, words("stop", 10.9, False), False),
    )
    assert in_time.stopped
    assert in_time.stop_late_s == pytest.approx(0.25)
    assert early.stop_late_s == pytest.approx(-0.1)
    assert (missed.stopped, missed.stop_late_s) == (False, None)


def test_a_command_that_is_taken_for_stop_is_not_done():
    (one,) = outcomes((RED,), (1.2, words("stop", 1.0, False), True), (1.5, words("red", 1.0), True))
    assert (one.right, one.wrong, one.stopped) == (False, False, True)


def test_partial_results_move_nothing():
    (one,) = outcomes((DECOY,), (1.2, words("red", 1.0, False), False))
    assert not one.wrong


def test_in_the_background_a_stop_counts_once_an_utterance_and_a_question_moves_nothing():
    told = [
        Told(1.0, words("stop", 1.0, False), True),
        Told(1.5, words("stop", 1.4), True),
        Told(2.0, words("stop", 2.0, False), True),
        Told(9.0, words("stop", 9.0), True),
        Told(9.5, words("stop", 9.5), True),
        Told(11.0, words("red", 11.0), False),
        Told(12.0, words("red?", 12.0), False),
        Told(13.0, words("red", 13.0, False), False),
    ]
    assert hush(told, understand, "it", "babble", 60.0) == Quiet("it", "babble", 60.0, ("pick_red",), 1, 3)


def outcome(
    kind="command", right=False, wrong=False, stopped=False, late_s=None, condition="clean", asked=False
):
    return Outcome("it", condition, "v", kind, "", "", right, wrong, asked, stopped, late_s, None)


def figures(*outcomes, quiet=None):
    return score_voice.figures([Listened("it", outcomes, quiet, 3600.0, 36.0)])["it"]


def test_figures_count_each_kind_where_it_belongs():
    found = figures(
        *[outcome(right=True)] * 3,
        outcome(wrong=True),
        outcome("reworded", right=True, asked=True),
        *(outcome("decoy"), outcome("decoy", wrong=True), outcome("decoy", stopped=True)),
        *[outcome("stop", stopped=True, late_s=0.1)] * 3,
        outcome("stop_in"),
    )
    clean = found["conditions"]["clean"]
    counted = {name: (one["done"], one["of"]) for name, one in clean.items() if isinstance(one, dict)}
    assert counted == {
        "right": (3, 4),
        "wrong": (1, 4),
        "reworded_right": (1, 1),
        "reworded_wrong": (0, 1),
        "obeyed": (1, 7),
        "stopped": (1, 8),
        "stop_missed": (1, 4),
        "stop_missed_alone": (0, 3),
    }
    assert clean["stop_p50_ms"] == pytest.approx(100.0)
    assert found["cpu_s_a_second"] == pytest.approx(0.01)
    assert found["voices"]["v"]["right"]["of"] == 4


def test_noises_of_a_level_are_pooled():
    noisy = [outcome(right=True, condition=c.name) for c in CONDITIONS if c.snr_db == 10.0]
    found = figures(*noisy, outcome(condition="servos 5 dB"))["conditions"]
    assert found["all noises 10 dB"]["right"]["of"] == len(noisy) == 3
    assert (found["all noises 5 dB"]["right"]["done"], found["all noises 5 dB"]["right"]["of"]) == (0, 1)
    assert "all noises 20 dB" not in found


def test_events_an_hour_have_an_interval_that_holds_for_none_too():
    none, four = score_voice.an_hour(0, 7200.0), score_voice.an_hour(4, 7200.0)
    assert (none["rate"], none["low"]) == (0.0, 0.0)
    assert none["high"] == pytest.approx(3.689 / 2, rel=0.02)  # Poisson's, exact
    assert four["rate"] == 2.0
    assert four["low"] == pytest.approx(1.090 / 2, rel=0.03)
    assert four["high"] == pytest.approx(10.242 / 2, rel=0.01)


def test_targets_are_told_as_met_or_missed():
    quiet = Quiet("it", "babble", 1800.0, (), 0, 1)
    found = {"it": figures(*[outcome(right=True)] * 19, outcome(wrong=True), quiet=quiet)}
    text = score_voice.table(found)
    assert "met    clean: right 0.95 >= 0.95" in text
    assert "MISSED clean: wrong 0.05 <= 0.002" in text
    assert "MISSED babble: stops_an_hour 2 <= 1" in text
    assert "stop_p95_ms" not in text  # nobody said it


def test_tapes_cover_every_voice_and_condition_in_a_mixed_order_that_the_seed_makes():
    those = [bench_voice.Entrant("pocketsphinx", "en")]
    todo = tasks(those, 0, False)
    assert todo == tasks(those, 0, False)
    assert todo != tasks(those, 1, False)
    assert sorted(map(repr, todo)) == sorted(map(repr, tasks(those, 1, False)))
    pairs = {(task.voice, task.condition) for task in todo if task.voice is not None}
    assert len(pairs) == len(speakers.installed("en")) * len(CONDITIONS)
    seconds = dict.fromkeys(bench_voice.BACKGROUND, 0.0)
    for task in todo:
        if task.background:
            seconds[task.background] += task.seconds
    assert seconds == bench_voice.BACKGROUND_S


def test_who_cannot_listen_here_is_left_out_and_nobody_left_is_an_error(monkeypatch):
    monkeypatch.setattr(bench_voice, "find_model", lambda language, setting: None)
    with pytest.raises(VoiceError, match="vosk zh: no model; try: edge-wam fetch-voice zh"):
        entrants("", ["vosk"])


def test_all_of_it_once_with_pocketsphinx(monkeypatch, tmp_path, capsys):
    pytest.importorskip("pocketsphinx")
    voice = next((v for v in speakers.installed("en") if v.name == "espeak-us"), None)
    if voice is None:
        pytest.skip("espeak-ng is not installed")
    task = bench_voice.Task(
        bench_voice.Entrant("pocketsphinx", "en"), speakers.VOICES.index(voice), CONDITIONS[0], "", 0, 0.0, ()
    )
    silence = task._replace(voice=None, condition=None, background="silence", seconds=10.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(bench_voice, "tasks", lambda *_: [task, silence])
    picture = tmp_path / "voice.png"
    assert bench_voice.main(MODEL, "", quick=True, workers=1, only=["pocketsphinx"], picture=picture) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["entrants"]["pocketsphinx en"]
    clean = found["conditions"]["clean"]
    assert clean["right"]["done"] >= clean["right"]["of"] / 2
    assert clean["stop_missed_alone"]["of"] > 0
    assert -500 < clean["stop_p50_ms"] < 1000
    assert found["background"]["silence"]["stops_an_hour"]["count"] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
