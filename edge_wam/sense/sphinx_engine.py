"""pocketsphinx: the recogniser for where there is no Vosk model. English; its model comes in its wheel.

A finite-state grammar of the phrases alone bends whatever it hears into one of them: "what time is
it" comes out as a command more often than not. pocketsphinx has no word for "none of these", and its
scores do not tell (measured: no threshold on them separates). So the grammar holds rivals:

    start --- the phrases and STOP, exactly ----------------> end
      |          |  |  one slip: a decoy in place of a word,   ^
      |          v  v  a word left out, an end too soon        |
      |       the phrases once more, after a slip -------------|
      \\--- talk --- talk --- talk --- ... (a chain) ------------/

A slip costs what it costs, however long the sentence: one wrong word in nine is heard as one in five is.
What takes a lower road is no phrase, and says so; "do not pick up the red cube" and "pick up the yellow
cube" are heard as themselves. Talk is a chain, not a loop: a loop over n words makes n * n transitions
here, and thirty times the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_wam.errors import VoiceError
from edge_wam.sense.ends import FRAME_BYTES, FRAME_S, Ends
from edge_wam.sense.grammar import AROUND_STOP, UNKNOWN, Beside, Grammar, make_grammar
from edge_wam.sense.sound import RATE_HZ, Block
from edge_wam.types import Words

_SLIP = 1e-20  # what a slip costs: less hears fewer commands wrongly, and misses more
_SLIP_AGAIN = 1e-8  # and the next: it is no command any more
_TAIL_WORD, _TAIL_WORDS = 1e-2, 8  # "... and then to the right"
_TALK_START, _TALK_WORD, _TALK_WORDS = 1e-23, 1e-8, 10  # talk: to begin with, for each word, and how many
_POLITE = 1e-3  # a polite word more
_ABOUT = 1e-18  # talk about commands ("do it again", "yes"): rarer than they are, and near to other talk
_STOP_BEFORE, _STOP_AFTER = 1e-8, 1e-6  # a word before STOP ("no no stop"), words after it ("stop it")
_STOP_BEFORE_WORDS = 3
_STOP_WITHIN = 1e-20  # STOP within a command or in the middle of talk
# Frames of 30 ms for which a STOP has to stand: "slide" begins like it, and "please put" like "please stop".
# With a pause after it it needs no more than the pause; said alone, less than in a sentence.
_SURE_FRAMES, _SURE_FRAMES_AFTER, _PAUSE_FRAMES = 6, 9, 3
_DOUBT = 1e-14  # what a slip costs when a command is heard once more: one that falls then is asked about
# How "stop" is said elsewhere than in the dictionary: in England, in the north, by machines.
_STOP_SOUNDS = ("S T AO P", "S T AH P")
# Wake words (sense/waker.py) that its dictionary lacks.
_WAKE_SOUNDS = {"nabu": "N AA B UW", "mycroft": "M AY K R AO F T"}
_SENTENCE_GAP_S = 1.0  # between two sentences; a pause of 0.3 s ends one for the end-pointer
_TAIL_FRAMES = 3  # of the silence that ended it, what is decoded: in more of it words are heard
_NOTHING = Beside()
_NAME, _ASKED, _DOUBTED = "commands", "commands and replies", "commands, doubted"
_Arc = tuple[int, int, float] | tuple[int, int, float, str]


class SphinxRecogniser:
    """pocketsphinx with a grammar. Loads in about 0.2 s, 40 MiB.

    The end-pointer finds where somebody speaks. While they do, the decoder's partial results are
    watched for STOP; when they end, the whole utterance is decoded once more, its loudness and
    colour normalised over itself instead of over what came before, and that is the final result.
    """

    def __init__(self, language: str, phrases: Iterable[str], beside: Beside = _NOTHING) -> None:
        """VoiceError if the language is not English or a word of `phrases` is not in its dictionary."""
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
        decoder = pocketsphinx.Decoder(lm=None, samprate=RATE_HZ, loglevel="FATAL")
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
            _DOUBTED: network(self.grammar, slip=_DOUBT),
        }
        for name, arcs in networks.items():
            decoder.add_fsg(name, decoder.create_fsg(name, 0, 1, arcs))
        decoder.activate_search(_NAME)
        self._search = self._wanted = _NAME
        self._decoder = decoder
        detector = pocketsphinx.Vad(mode=pocketsphinx.Vad.STRICT, sample_rate=RATE_HZ, frame_length=FRAME_S)
        self._ends = Ends(detector.is_speech)
        self._frames = 0
        self._rejected_end_s = -math.inf
        self._waiting = b""  # sound that does not fill a frame yet
        self._said = b""  # the utterance so far
        # The words so far, for how many frames they have stood, and whether they were told.
        self._partial, self._partial_frames, self._told = "", 0, False

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
                if self._search != self._wanted:
                    self._decoder.activate_search(self._wanted)
                    self._search = self._wanted
                self._decoder.start_utt()
                self._said, self._partial = b"", ""
            self._said += speech
            if self._ends.in_speech:
                self._decoder.process_raw(speech, False, False)
                found += self._partial_words(t_s)
            else:
                found += self._final_words(t_s)
        return found

    def expect_reply(self, asked: bool) -> None:
        """From the next utterance on, listen for replies to a question too, or not any more."""
        self._wanted = _ASKED if asked else _NAME

    def _partial_words(self, t_s: float) -> list[Words]:
        hypothesis = self._decoder.hyp()
        text = hypothesis.hypstr if hypothesis else ""
        if text != self._partial:
            self._partial, self._partial_frames, self._told = text, 0, False
        self._partial_frames += 1
        if not text or self._told or not self._is_sure(text):
            return []
        self._told = True
        return [Words(text, t_s, 0.0, False, self.grammar.language)]

    def _is_sure(self, text: str) -> bool:
        """Whether a partial result has stood for long enough."""
        if not self.grammar.is_stop(text):
            return True
        if min(self._partial_frames, self._ends.quiet) >= _PAUSE_FRAMES:
            return True
        alone = self.grammar.is_stop(text.split()[0])
        return self._partial_frames >= (_SURE_FRAMES if alone else _SURE_FRAMES_AFTER)

    def _final_words(self, t_s: float) -> list[Words]:
        begin_s, end_s = self._ends.begin_s, self._ends.end_s  # in the time of the frames fed
        self._decoder.end_utt()
        silent = max(0, self._ends.quiet - _TAIL_FRAMES) * FRAME_BYTES
        self._said = self._said[: len(self._said) - silent]
        text = self._decoded()
        first_s = self._first_word_s()
        known = self.grammar.is_phrase(text, self._search == _ASKED) or self.grammar.is_stop(text)
        # After a pause the rest of a sentence looks like a sentence: "do not ... pick up the red cube".
        if not known or (begin_s < self._rejected_end_s + _SENTENCE_GAP_S and not self.grammar.is_stop(text)):
            known, text = False, f"{UNKNOWN} {text}".strip()
            self._rejected_end_s = end_s
        elif self.grammar.is_command(text) and not self._holds(text):
            known, text = False, f"{UNKNOWN} {text}"
        t_s -= self._frames * FRAME_S - end_s
        since_s = min(t_s, t_s - (end_s - begin_s) + first_s)
        return [Words(text, t_s, 1.0 if known else 0.0, True, self.grammar.language, since_s)]

    def _first_word_s(self) -> float:
        """When the first word of the utterance ended, from its beginning: which may be a noise before it."""
        words = [one for one in self._decoder.seg() or () if one.word[0].isalpha()]
        return words[0].end_frame / self._decoder.config["frate"] if words else 0.0

    def _decoded(self) -> str:
        """The whole utterance, with the search that is active."""
        self._decoder.start_utt()
        self._decoder.process_raw(self._said, False, True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def _holds(self, text: str) -> bool:
        """Whether a command is still heard where slips cost little: one that is not may have a word in it
        that was never said ("pick up the blue cube" of "pick up the cube")."""
        self._decoder.activate_search(_DOUBTED)
        doubted = self._decoded()
        self._decoder.activate_search(self._search)
        return doubted == text


def network(grammar: Grammar, replies: Iterable[str] = (), slip: float = _SLIP) -> list[_Arc]:
    """The grammar, and replies, as transitions (from, to, probability[, word]) of a network that runs from 0
    to 1. slip: what the first slip costs."""
    table = smallest((*grammar.phrases, *grammar.stop_words))
    start, count = len(table) - 1, len(table)
    net = _Network(2 + 2 * count)  # state s of the table: s + 2 in the exact part, s + slipped after a slip
    exact, slipped = 2, 2 + count
    net.arc(0, start + exact, 1.0)
    for text in dict.fromkeys((*grammar.decoys.before, *grammar.beside.against)):
        net.words(start + exact, start + slipped, slip, text)
    tail = _tail(net, table) if grammar.decoys.more else 1
    stopped = _stops(net, grammar)
    for text in grammar.beside.before:
        net.words(0, start + exact, _POLITE, text)
    for state, leads in enumerate(table):
        for part in (exact, slipped):
            for word, to in leads.items():
                net.arc(state + part, to + part if word else 1, 1.0, word)
            for text in grammar.beside.after if "" in leads else ():
                net.words(state + part, 1, _POLITE, text)
            for word in grammar.stop_words if state != start else ():
                net.arc(state + part, stopped, _STOP_WITHIN, word)
            if state != start and "" not in leads:
                net.arc(state + part, 1, slip)  # an end too soon
            cost = slip if part == exact else _SLIP_AGAIN
            for text in grammar.decoys.more if part == exact else ():
                net.words(state + part, tail, cost, text)
            for to, others in _slips(leads, grammar, state == start).items():
                net.arc(state + part, to + slipped, cost)  # a word left out
                for other in others:
                    net.words(state + part, to + slipped, cost, other)
    for text in (*grammar.beside.talk, *replies):
        net.words(0, 1, _ABOUT, text)
    state = net.new()
    net.arc(0, state, _TALK_START)
    for _ in range(_TALK_WORDS if grammar.decoys.talk else 0):
        before, state = state, net.new()
        for word in grammar.decoys.talk:
            net.arc(before, state, _TALK_WORD, word)
        for word in grammar.stop_words:
            net.arc(before, stopped, _STOP_WITHIN, word)
        net.arc(state, 1, 1.0)
    return net.arcs


def _stops(net: _Network, grammar: Grammar) -> int:
    """STOP with what is said in one breath with it; returns where that goes on after the word itself."""
    before, after = AROUND_STOP[grammar.language]
    stopped = net.new()
    net.arc(stopped, 1, 1.0)
    for text in after:
        net.words(stopped, 1, _STOP_AFTER, text)
    state = 0
    for _ in range(_STOP_BEFORE_WORDS):
        last, state = state, net.new()
        for text in before:
            net.words(last, state, _STOP_BEFORE, text)
        for word in grammar.stop_words:
            net.arc(state, stopped, 1.0, word)
    for word in grammar.stop_words:
        net.arc(0, stopped, 1.0, word)
    return stopped


def _tail(net: _Network, table: list[dict[str, int]]) -> int:
    """Once it is two things ("... and then to the right"), the second may be any words of the first; returns
    where that begins."""
    said = sorted({word for leads in table for word in leads if word})
    first = state = net.new()
    for _ in range(_TAIL_WORDS):
        before, state = state, net.new()
        net.arc(before, 1, 1.0)
        for word in said:
            net.arc(before, state, _TAIL_WORD, word)
    net.arc(state, 1, 1.0)
    return first


class _Network:
    """Transitions under way, and how many states there are."""

    def __init__(self, states: int) -> None:
        self.arcs: list[_Arc] = []
        self._states = states

    def new(self) -> int:
        self._states += 1
        return self._states - 1

    def arc(self, start: int, end: int, probability: float, word: str = "") -> None:
        self.arcs.append((start, end, probability, word) if word else (start, end, probability))

    def words(self, start: int, end: int, probability: float, text: str) -> None:
        """A way of several words."""
        *first, last = text.split()
        for word in first:
            between = self.new()
            self.arc(start, between, probability, word)
            start, probability = between, 1.0
        self.arc(start, end, probability, last)


def _slips(leads: dict[str, int], grammar: Grammar, first: bool) -> dict[int, list[str]]:
    """Decoys for the words that lead on from a state, by where those lead. first: it is the start."""
    slips: dict[int, list[str]] = {}
    for word, to in leads.items():
        others = grammar.decoys.verbs if first and word not in grammar.stop_words else ()
        for ours, theirs in grammar.decoys.instead:
            others += theirs if word in ours else ()
        if others:
            known = slips.setdefault(to, [])
            known += [other for other in others if other not in leads and other not in known]
    return slips


def smallest(sentences: Iterable[str]) -> list[dict[str, int]]:
    """The smallest network of exactly these sentences: for each state where its words lead, "" (to -1)
    where a sentence may end. Begins in the last one.

    A tree of the words, whose branches that go on alike are one.
    """
    tree: dict[str, Any] = {}
    for sentence in sentences:
        branch = tree
        for word in sentence.split():
            branch = branch.setdefault(word, {})
        branch[""] = None
    table: list[dict[str, int]] = []
    seen: dict[tuple[tuple[str, int], ...], int] = {}

    def number(branch: dict[str, Any]) -> int:
        leads = {word: -1 if rest is None else number(rest) for word, rest in branch.items()}
        key = tuple(sorted(leads.items()))
        if key not in seen:
            seen[key] = len(table)
            table.append(leads)
        return seen[key]

    number(tree)
    return table


def _read_dictionary(path: Path) -> list[str]:
    """Words of a CMU dictionary: the first column, without the (2) of further pronunciations."""
    lines = path.read_text("utf-8", "replace").splitlines()
    return [line.split()[0] for line in lines if line and "(" not in line.split()[0]]
