"""pocketsphinx: the recogniser for where there is no Vosk model. English; its model comes in its wheel.

A finite-state grammar of the phrases alone bends whatever it hears into one of them: "what time is
it" comes out as a command more often than not. pocketsphinx has no word for "none of these", and its
scores do not tell (measured: no threshold on them separates). So the grammar holds rivals
(sphinx_network.py).

It lets no other thread run while it works, and among many people who talk it takes many times as long as
they do over what they have said. So the robot understands whole utterances in a process beside (apart.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from edge_wam.errors import VoiceError
from edge_wam.sense.apart import Apart
from edge_wam.sense.ends import FRAME_BYTES, FRAME_S, Ends
from edge_wam.sense.grammar import UNKNOWN, Beside, Grammar, make_grammar
from edge_wam.sense.later import Later, Rests
from edge_wam.sense.sound import RATE_HZ, Block
from edge_wam.sense.sphinx_network import network
from edge_wam.types import Words

# Frames of 30 ms for which a STOP has to stand: "slide" begins like it, and "please put" like "please stop".
# With a pause after it it needs no more than the pause; said alone, less than in a sentence.
_SURE_FRAMES, _SURE_FRAMES_AFTER, _PAUSE_FRAMES = 6, 9, 3
# What is followed at a time: states (of its own 30,000 a crowd leaves few out), and words, as the sound comes
# (by its own 7e-29 a crowd keeps it from the next block for half a second).
_STATES, _AS_IT_COMES = 3_000, {"wbeam": 1e-24}
_DECODINGS = 2  # of a command
_DOUBT = 1e-14  # what a slip costs when a command is heard once more: one that falls then is asked about
# How "stop" is said elsewhere than in the dictionary: in England, in the north, by machines.
_STOP_SOUNDS = ("S T AO P", "S T AH P")
# Wake words (sense/waker.py) that its dictionary lacks.
_WAKE_SOUNDS = {"nabu": "N AA B UW", "mycroft": "M AY K R AO F T"}
_SENTENCE_GAP_S = 1.0  # between two sentences; a pause of 0.3 s ends one for the end-pointer
_TAIL_FRAMES = 3  # of the silence that ended it, what is decoded: in more of it words are heard
_NOTHING = Beside()
_NAME, _ASKED, _DOUBTED, _LEARN = "commands", "commands and replies", "commands, doubted", "nothing"


class Understood(NamedTuple):
    """What a whole utterance says, [unk] before what is no phrase or doubtful; when its first word ended,
    from the utterance's beginning, which may be a noise."""

    text: str
    first_s: float


class SphinxDecoder:
    """pocketsphinx with the grammar. Loads in about 0.3 s, 40 MiB.

    Fed as the sound comes (begin, feed, end), or with whole utterances (`understand`). Loudness and colour
    are normalised by what came before, and, of a whole utterance, by itself. Not by two threads at once.
    """

    def __init__(
        self, language: str, phrases: Iterable[str], beside: Beside = _NOTHING, whole: bool = False
    ) -> None:
        """whole: it is for whole utterances. VoiceError if the language is not English or a word of `phrases`
        is not in its dictionary."""
        try:
            import pocketsphinx
        except ImportError as error:
            raise VoiceError(
                "voice.engine 'pocketsphinx' needs its package; try: pip install 'edge-wam[voice]'"
            ) from error
        if language != "en":
            raise VoiceError(
                f"pocketsphinx: its model hears 'en' only, voice.language is '{language}'; "
                f"try: a Vosk model for '{language}' in voice.vosk_model"
            )
        self.name = "pocketsphinx with its own English model"
        how = {} if whole else _AS_IT_COMES
        decoder = pocketsphinx.Decoder(lm=None, samprate=RATE_HZ, loglevel="FATAL", maxhmmpf=_STATES, **how)
        for number, sounds in enumerate(_STOP_SOUNDS, 2):
            decoder.add_word(f"stop({number})", sounds, number == 1 + len(_STOP_SOUNDS))
        for word, sounds in _WAKE_SOUNDS.items():
            decoder.add_word(word, sounds, True)
        self.grammar: Grammar = make_grammar(
            language,
            phrases,
            lambda word: decoder.lookup_word(word) is not None,
            lambda: _read_dictionary(Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))),
            self.name,
            beside,
        )
        networks = {
            _NAME: network(self.grammar),
            _ASKED: network(self.grammar, self.grammar.beside.replies),
            _LEARN: [(0, 1, 1.0, self.grammar.stop_words[0])],
        }
        if whole:
            networks[_DOUBTED] = network(self.grammar, slip=_DOUBT)
        for name, arcs in networks.items():
            decoder.add_fsg(name, decoder.create_fsg(name, 0, 1, arcs))
        self._decoder, self._search = decoder, ""
        detector = pocketsphinx.Vad(mode=pocketsphinx.Vad.STRICT, sample_rate=RATE_HZ, frame_length=FRAME_S)
        self.is_speech: Callable[[bytes], bool] = detector.is_speech

    def begin(self, asked: bool) -> None:
        """An utterance; asked: replies to a question count."""
        self._activate(_ASKED if asked else _NAME)
        self._decoder.start_utt()

    def feed(self, speech: bytes) -> str:
        """More of it; its words so far."""
        self._decoder.process_raw(speech, False, False)
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def end(self) -> None:
        """It is over. Of its words nothing is asked: that takes the time."""
        self._decoder.end_utt()

    def learn(self, sound: bytes, understood: bool) -> None:
        """Let what follows be normalised by this utterance, (N,) int16, as if it had been understood here, or
        fed: the two are not the same, and a short command is heard by that."""
        self._activate(_LEARN)  # the end of an utterance searches it, whatever it was told
        size = len(sound) if understood else FRAME_BYTES
        for _ in range(_DECODINGS if understood else 1):
            self._decoder.start_utt()
            for at in range(0, len(sound), size):
                self._decoder.process_raw(sound[at : at + size], True, understood)  # features alone
            self._decoder.end_utt()

    def understand(self, sound: bytes, asked: bool) -> Understood:
        """A whole utterance, (N,) int16."""
        text = self._decoded(sound, _ASKED if asked else _NAME)
        words = [one for one in self._decoder.seg() or () if one.word[0].isalpha()]
        first_s = words[0].end_frame / self._decoder.config["frate"] if words else 0.0
        known = self.grammar.is_phrase(text, asked) or self.grammar.is_stop(text)
        # A command that is not heard where slips cost little may have a word in it that was never said ("pick
        # up the blue cube" of "pick up the cube").
        if known and self.grammar.is_command(text):
            known = self._decoded(sound, _DOUBTED) == text
        return Understood(text if known else f"{UNKNOWN} {text}".strip(), first_s)

    def _decoded(self, sound: bytes, search: str) -> str:
        self._activate(search)
        self._decoder.start_utt()
        self._decoder.process_raw(sound, False, True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def _activate(self, search: str) -> None:
        if search != self._search:
            self._decoder.activate_search(search)
            self._search = search


def open_understanding(
    language: str, phrases: Iterable[str], beside: Beside
) -> Callable[[bytes, bool], Understood]:
    """`understand` of a decoder of its own, which is normalised like one that was fed before; for Apart."""
    decoder = SphinxDecoder(language, phrases, beside, whole=True)

    def understand(sound: bytes, asked: bool) -> Understood:
        decoder.learn(sound, understood=False)
        return decoder.understand(sound, asked)

    return understand


class _Ended(NamedTuple):
    """An utterance that is over: from when to when it was said, in the time of the frames fed; its end in the
    sound's own time; whether replies counted."""

    begin_s: float
    end_s: float
    t_s: float
    asked: bool


class SphinxRecogniser:
    """Commands and STOP, by pocketsphinx.

    The end-pointer finds where somebody speaks. While they do, partial results are watched for STOP; when
    they end, the whole utterance is understood, and that is the final result. One in which STOP was told has
    ended as it stands.

    later: what is being understood.
    """

    known_s = 0.5
    judge = None

    def __init__(
        self,
        language: str,
        phrases: Iterable[str],
        beside: Beside = _NOTHING,
        apart: bool = False,
        commands: bool = True,
    ) -> None:
        """apart: understand in a process beside, and let nobody wait for it; else each utterance at once.
        commands: false where somebody else understands those, and this hears STOP as it is said and nothing
        else, which is half the work. VoiceError as of SphinxDecoder."""
        phrases = tuple(phrases)
        self._decoder = SphinxDecoder(language, phrases, beside)
        self.name, self.grammar = self._decoder.name, self._decoder.grammar
        made = (language, phrases, beside)
        understand: Callable[[bytes, bool], Understood]
        if not commands:
            understand = _nothing
        elif apart:
            understand = Apart(open_understanding, *made, name="utterances")
        else:
            understand = open_understanding(*made)
        self._commands = commands
        self.later: Later[_Ended, Understood] = Later(understand, at_once=not apart)
        self._ends = Ends(self._decoder.is_speech)
        self._frames = 0
        self._rests = Rests(_SENTENCE_GAP_S)
        self._waiting = b""  # sound that does not fill a frame yet
        self._said = b""  # the utterance so far
        self._asked = self._asked_then = False  # whether replies count; and in this utterance
        # The words so far, for how many frames they have stood, whether they were told, and when a STOP was.
        self._partial, self._partial_frames, self._told, self._stop_s = "", 0, False, math.nan

    def hear(self, block: Block) -> list[Words]:
        """Feed a block; what it brought to light: nothing, changed partial results, or final ones."""
        self._waiting += block.samples.tobytes()
        found: list[Words] = []
        while len(self._waiting) >= FRAME_BYTES:
            frame, self._waiting = self._waiting[:FRAME_BYTES], self._waiting[FRAME_BYTES:]
            was_speech = self._ends.in_speech
            speech = self._ends.process(frame)
            self._frames += 1
            if speech is None:
                continue
            t_s = block.t_s - len(self._waiting) / (2 * RATE_HZ)
            if not was_speech:
                self._asked_then = self._asked
                self._decoder.begin(self._asked)
                self._said, self._partial, self._stop_s = b"", "", math.nan
            self._said += speech
            if self._ends.in_speech:
                found += self._partial_words(self._decoder.feed(speech), t_s)
            else:
                silent = max(0, self._ends.quiet - _TAIL_FRAMES) * FRAME_BYTES
                self._said = self._said[: len(self._said) - silent]
                self._decoder.end()
                self._decoder.learn(self._said, understood=True)
                found += self._ended(t_s)
        return found + [self._words(*one) for one in self.later.done(block.t_s)]

    def expect_reply(self, asked: bool) -> None:
        """From the next utterance on, listen for replies to a question too, or not any more."""
        self._asked = asked

    def _partial_words(self, text: str, t_s: float) -> list[Words]:
        if text != self._partial:
            self._partial, self._partial_frames, self._told = text, 0, False
        self._partial_frames += 1
        if not text or self._told or not self._is_sure(text):
            return []
        self._told = True
        if self.grammar.is_stop(text) and math.isnan(self._stop_s):
            self._stop_s = t_s
            self.later.clear()  # said before STOP, and not to be done after it
        return [Words(text, t_s, 0.0, False, self.grammar.language)]

    def _is_sure(self, text: str) -> bool:
        """Whether a partial result has stood for long enough."""
        if not self.grammar.is_stop(text):
            return True
        if min(self._partial_frames, self._ends.quiet) >= _PAUSE_FRAMES:
            return True
        alone = self.grammar.is_stop(text.split()[0])
        return self._partial_frames >= (_SURE_FRAMES if alone else _SURE_FRAMES_AFTER)

    def _ended(self, t_s: float) -> list[Words]:
        """The utterance is over, at t_s: its final words, if STOP was told in it; else they come later."""
        begin_s, end_s = self._ends.begin_s, self._ends.end_s
        t_s -= self._frames * FRAME_S - end_s
        if not math.isnan(self._stop_s):
            since_s = min(t_s, self._stop_s)
            return [Words(self._partial, t_s, 1.0, True, self.grammar.language, since_s)]
        if not self._commands:
            return []
        ended = _Ended(begin_s, end_s, t_s, self._asked_then)
        if not self.later.put(ended, t_s, self._said, self._asked_then):
            self._rests.after(end_s)
        return []

    def _words(self, ended: _Ended, understood: Understood) -> Words:
        text, first_s = understood
        said = text.removeprefix(UNKNOWN).strip()
        stop, known = self.grammar.is_stop(said), self.grammar.is_phrase(said, ended.asked)
        if not stop and (not known or self._rests.has(ended.begin_s)):
            text = f"{UNKNOWN} {said}".strip()
            self._rests.after(ended.end_s)
        confidence = 0.0 if text.startswith(UNKNOWN) else 1.0
        since_s = min(ended.t_s, ended.t_s - (ended.end_s - ended.begin_s) + first_s)
        return Words(text, ended.t_s, confidence, True, self.grammar.language, since_s)


def _nothing(said: bytes, asked: bool) -> Understood:
    del said, asked
    return Understood("", 0.0)


def _read_dictionary(path: Path) -> list[str]:
    """Words of a CMU dictionary: the first column, without the (2) of further pronunciations."""
    lines = path.read_text("utf-8", "replace").splitlines()
    return [line.split()[0] for line in lines if line and "(" not in line.split()[0]]
