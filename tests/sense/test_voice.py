"""English commands, from sound to words: pocketsphinx always, Vosk where a model is found."""

import itertools

import numpy as np
import pytest

from edge_wam.clock import ManualClock
from edge_wam.errors import VoiceError
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.messages import HEARD, HeardReader, HeardWriter
from edge_wam.sense import vosk_engine
from edge_wam.sense.grammar import Beside, key, make_grammar
from edge_wam.sense.listener import Listener
from edge_wam.sense.sound import RATE_HZ, Block
from edge_wam.sense.sphinx_network import network, smallest
from edge_wam.sense.understand import Act, Understanding
from edge_wam.sense.voice import describe, listen, open_recogniser
from edge_wam.sense.wav import read_wav
from edge_wam.sim import tasks
from edge_wam.sim.microphone import SAMPLES, SimMicrophone, sample
from edge_wam.types import Words

PHRASES = [phrase for command in tasks.commands() for phrase in command.phrases["en"]]
UNDERSTANDING = Understanding("en", [command.phrases["en"] for command in tasks.commands()])
SENTENCES = (
    *("pick up the red cube", "pick up the green cube", "push the purple cube to the left"),
    *("put the blue cube on the red plate", "point at the green cube", "go home"),
)
RECORDED = sorted(path.stem.removeprefix("en_") for path in SAMPLES.glob("en_*.wav"))
UNHEARD = ("flite-rms", "flite-awb", "festival-kal", "espeak-us")  # voices in no sample


@pytest.fixture(scope="module", params=["pocketsphinx", "vosk"])
def recogniser(request):
    if request.param == "vosk" and vosk_engine.find_model("en") is None:
        pytest.skip("no English Vosk model here; try: edge-wam fetch-voice en")
    pytest.importorskip(request.param)
    return open_recogniser(request.param, "en", PHRASES, beside=UNDERSTANDING.beside())


def commands_in(recogniser, news):
    """What was heard and is done at once, in the model's words."""
    heard = [UNDERSTANDING.meaning(words.text) for words, stop in news if words.final and not stop]
    return [meaning.phrase for meaning in heard if meaning.act is Act.DO]


def test_samples_are_heard_right(recogniser, hear):
    news = hear(recogniser, *(read_wav(sample("en", name)) for name in RECORDED))
    assert commands_in(recogniser, news) == [tasks.command(name).tokens for name in RECORDED]
    assert sum(words.final for words, _ in news) == len(RECORDED)
    assert not any(stop for _, stop in news)


@pytest.mark.parametrize("voice", UNHEARD)
def test_the_demo_is_heard_right_in_voices_of_no_sample(recogniser, hear, say, voice):
    news = hear(recogniser, *(say(voice, text) for text in SENTENCES))
    assert commands_in(recogniser, news) == list(SENTENCES)


@pytest.mark.parametrize("voice", ["flite-rms", "espeak-gb"])
def test_what_is_no_command_is_rejected(recogniser, hear, say, voice):
    # Not "pick up the cube" by espeak-gb: its "the" is heard as "the blue", and doubt finds that out only
    # sometimes.
    others = (
        *("do not pick up the red cube", "pick up the yellow cube", "put down the red cube"),
        *("what time is it", "good morning everybody", "turn on the light in the kitchen"),
        "pick up the red cube or the blue cube",
        *("put the red cube on the yellow plate", "put the blue ball on the red plate", "put the red cube"),
        *("throw the red cube to the left", "point at the cube", "do not push the blue cube to the left"),
    )
    news = hear(recogniser, *(say(voice, text) for text in others))
    assert commands_in(recogniser, news) == []
    assert any(words.final for words, _ in news)  # it did listen


def test_a_command_after_other_talk_is_still_heard(recogniser, hear, say):
    news = hear(recogniser, say("flite-rms", "what time is it"), say("flite-rms", "pick up the red cube"))
    assert commands_in(recogniser, news) == ["pick up the red cube"]


def test_the_rest_of_a_sentence_after_a_pause_is_no_command(recogniser, hear, say):
    """A pause of half a second ends an utterance for a recogniser, not for the person."""
    halves = [say("flite-rms", "do not"), say("flite-rms", "pick up the red cube")]
    assert commands_in(recogniser, hear(recogniser, *halves, pause_s=0.45)) == []
    assert commands_in(recogniser, hear(recogniser, halves[1])) == ["pick up the red cube"]


@pytest.mark.parametrize("voice", UNHEARD)
def test_stop_acts_on_a_partial_result(recogniser, hear, say, voice):
    news = hear(recogniser, say(voice, "stop"))
    assert news[0].stop
    assert not news[0].words.final
    assert commands_in(recogniser, news) == []


def test_words_carry_the_time_at_which_the_last_of_them_ended(recogniser, hear):
    sound = read_wav(sample("en", "pick_red"))
    loud = np.flatnonzero(np.abs(sound.astype(int)) > 600)
    (words,) = [words for words, _ in hear(recogniser, sound) if words.final]
    assert words.t_s == pytest.approx(0.5 + loud[-1] / RATE_HZ, abs=0.25)


def test_a_word_that_begins_like_stop_is_none(recogniser, hear, say):
    text = "slide the blue cube to the right"
    news = hear(recogniser, say("espeak-us", text))
    assert not any(stop for _, stop in news)
    assert commands_in(recogniser, news) == ["push the blue cube to the right"]


def test_silence_says_nothing(recogniser, hear):
    assert hear(recogniser, np.zeros(4 * RATE_HZ, np.int16)) == []


def test_noise_is_no_command(recogniser, hear):
    noise = np.random.default_rng(3).normal(0, 3000, 4 * RATE_HZ).astype(np.int16)
    assert commands_in(recogniser, hear(recogniser, noise)) == []


def test_a_word_outside_the_vocabulary_is_named_with_the_nearest_known_one(recogniser):
    engine = recogniser.name.split()[0].lower()
    with pytest.raises(VoiceError, match=r"cannot hear 'purplle' in 'pick up the purplle cube'.*'purple'"):
        open_recogniser(engine, "en", [*PHRASES, "pick up the purplle cube"])


def test_one_line_says_which_recogniser_listens(recogniser):
    line = describe(recogniser)
    assert "\n" not in line
    assert ("Vosk" in line) != ("pocketsphinx" in line)
    assert str(len(recogniser.grammar.phrases)) in line


# What follows needs no recogniser: a vocabulary is a set, and hearing is a script.


def knows(words):
    known = {*words.split(), "stop", "停", "停下", "停止", "别动"}
    return {"knows": known.__contains__, "vocabulary": lambda: known, "recogniser": "the test"}


def test_chinese_is_cut_into_the_fewest_known_words():
    grammar = make_grammar("zh", ["拿起红色方块"], **knows("拿 起 拿起 红 色 红色 方 方块 块"))
    assert grammar.phrases == ("拿起 红色 方块",)
    assert grammar.is_phrase("拿起红色方块")


def test_chinese_that_cannot_be_cut_is_refused():
    with pytest.raises(VoiceError, match="夹起红色方块"):
        make_grammar("zh", ["夹起红色方块"], **knows("红色 方块"))


def test_a_phrase_must_be_whole_and_in_order():
    grammar = make_grammar("en", ["lift the red cube"], **knows("lift the red cube do not"))
    assert grammar.is_phrase("Lift  the red cube.")
    for other in (
        "do not lift the red cube",
        "lift the red",
        "the red cube lift",
        "[unk] lift the red cube",
        "",
    ):
        assert not grammar.is_phrase(other)


def test_talk_about_commands_is_a_phrase_but_no_command():
    beside = Beside(talk=["do it again"], before=["please"])
    grammar = make_grammar(
        "en", ["lift the cube"], **knows("lift the cube do it again please"), beside=beside
    )
    assert grammar.is_phrase("do it again")
    assert not grammar.is_command("do it again")
    assert grammar.is_command("please lift the cube")


def test_phrases_that_share_their_letters_are_one_key():
    assert key("拿起 红色 方块") == key("拿起红色方块。")


def test_a_phrase_with_a_stop_word_is_refused():
    with pytest.raises(VoiceError, match="STOP"):
        make_grammar("en", ["stop the red cube"], **knows("stop the red cube"))


def test_a_recogniser_that_cannot_hear_stop_is_refused():
    with pytest.raises(VoiceError, match="STOP word 'stop'"):
        make_grammar("en", ["lift"], knows={"lift"}.__contains__, vocabulary=list, recogniser="the test")


@pytest.mark.parametrize("phrases", [[], [" "]])
def test_nothing_to_listen_for_is_refused(phrases):
    with pytest.raises(VoiceError):
        make_grammar("en", phrases, **knows("lift"))


def test_a_decoy_never_shadows_a_word_of_the_phrases():
    grammar = make_grammar("en", ["lift the yellow cube"], **knows("lift the yellow cube orange"))
    assert grammar.no_phrases == ("orange",)


def sentences_of(table):
    """Every sentence of a smallest network."""

    def after(state):
        for word, to in table[state].items():
            yield from [()] if not word else ((word, *rest) for rest in after(to))

    return sorted(" ".join(words) for words in after(len(table) - 1))


def test_the_smallest_network_says_exactly_the_phrases_and_shares_what_they_share():
    table = smallest(PHRASES)
    assert sentences_of(table) == sorted(set(PHRASES))
    assert sum(map(len, table)) < len(PHRASES)  # fewer transitions than there are phrases


def ways(arcs, most=2):
    """Every (text, cost) of a network from 0 to 1, of at most so many slips."""
    leads = {}
    for start, *rest in arcs:
        leads.setdefault(start, []).append(rest)
    found, waiting = set(), [(0, (), 0)]
    while waiting:
        state, words, slips = waiting.pop()
        if state == 1:
            found.add((" ".join(words), slips))
        for to, probability, *word in leads.get(state, ()):
            if slips + (probability < 1) <= most:
                waiting.append((to, (*words, *word), slips + (probability < 1)))
    return found


def test_a_network_says_phrases_for_nothing_and_everything_else_at_a_cost():
    words = "lift the red blue cube black ball do not don't never drop good"
    grammar = make_grammar("en", ["lift the red cube", "lift the blue cube"], **knows(words))
    found = ways(network(grammar))
    free = {text for text, slips in found if not slips}
    assert free == {*grammar.phrases, "stop"}
    for text in (
        *("do not lift the red cube", "never lift the blue cube", "lift the black cube", "lift the red ball"),
        *("drop the red cube", "lift the cube", "lift the red", "lift"),
    ):
        assert (text, 1) in found
    assert ("lift the black ball", 2) in found
    assert not {text for text, slips in found if slips and text == "blue lift"}
    # STOP wherever it is said
    assert {("lift the stop", 1), ("lift stop", 1), ("please stop", 1), ("no no stop", 2)} <= found
    assert {("stop it", 1), ("stop right there", 1), ("lift stop it", 2)} <= found
    assert ("good", 2) in found


def test_a_language_without_stop_words_is_refused():
    with pytest.raises(VoiceError, match="STOP words for 'fr'"):
        make_grammar("fr", ["prends le cube"], **knows("prends le cube"))


@pytest.mark.parametrize(
    ("engine", "language", "model", "says"),
    [
        ("siri", "en", "", "auto, vosk, pocketsphinx, whisper"),
        ("pocketsphinx", "zh", "", "hears 'en' only"),
        ("vosk", "en", "", "edge-wam fetch-voice en"),
        ("auto", "zh", "", "no Vosk model for 'zh'"),
        ("auto", "en", "/no/such/folder", "voice.vosk_model"),
    ],
)
def test_a_recogniser_that_is_not_there_is_one_line_with_what_to_try(
    engine, language, model, says, monkeypatch, tmp_path
):
    pytest.importorskip("pocketsphinx")
    monkeypatch.delenv(vosk_engine.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(VoiceError, match=says) as caught:
        open_recogniser(engine, language, PHRASES, model)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(vosk_engine.VARIABLE, str(tmp_path))
    with pytest.raises(VoiceError, match=r"\$EDGE_WAM_VOSK_MODEL: .* no am/final.mdl"):
        vosk_engine.find_model("en")


class ScriptedRecogniser:
    """Says a line of its script a block. A test of what is done with words needs no sound."""

    name = "script"

    def __init__(self, *lines):
        self.grammar = make_grammar("en", ["lift the cube"], **knows("lift the cube"))
        self._lines = list(lines)

    def hear(self, block):
        text, final = self._lines.pop(0) if self._lines else ("", False)
        return [Words(text, block.t_s, 1.0, final, "en")] if text else []


def told(*lines):
    listener = Listener(ScriptedRecogniser(*lines))
    return [
        (words.text, words.final, stop)
        for _ in lines
        for words, stop in listener.hear(Block(np.zeros(960, np.int16), 0.0))
    ]


def test_partial_results_are_told_only_if_they_stop():
    assert told(("lift", False), ("lift the cube", True)) == [("lift the cube", True, False)]
    assert told(("please stop", False)) == [("please stop", False, True)]
    assert told(("stopped", False)) == []


def test_who_said_stop_does_not_move_the_arm_whatever_the_sentence_ends_as():
    assert told(("stop", False), ("lift the cube", True)) == [
        ("stop", False, True),
        ("lift the cube", True, True),
    ]


def test_a_stop_is_over_when_the_utterance_is():
    assert told(("stop", False), ("stop", True), ("lift the cube", True))[-1] == (
        "lift the cube",
        True,
        False,
    )


def test_words_reach_the_mailbox_with_their_marks():
    recogniser = ScriptedRecogniser(("stop", False), ("stop", True), ("lift the cube", True))
    microphone = SimMicrophone(np.zeros(RATE_HZ, np.int16), ManualClock())
    rounds = itertools.count()
    with Mailbox.create(private_name("test-voice"), HEARD) as mailbox:
        writer = HeardWriter(mailbox)
        listen(
            microphone,
            Listener(recogniser),
            lambda news: writer.put(news.words, stop=news.stop),
            lambda timeout_s: next(rounds) == 3,
        )
        heard = HeardReader(mailbox).take()
    assert [(one.words.text, one.words.final, one.stop) for one in heard] == [
        ("stop", False, True),
        ("stop", True, True),
        ("lift the cube", True, False),
    ]
    assert [one.words.t_s for one in heard] == pytest.approx([0.06, 0.12, 0.18])


class DeadSource:
    def start(self):
        pass

    def read(self, timeout_s):
        return None

    def stop(self):
        pass


def test_a_microphone_that_gives_nothing_is_an_error():
    with pytest.raises(VoiceError, match="no sound"):
        listen(DeadSource(), Listener(ScriptedRecogniser()), None, lambda timeout_s: False)
