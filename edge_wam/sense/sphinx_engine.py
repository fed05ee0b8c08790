"""pocketsphinx: the recogniser for where there is no Vosk model. English; its model comes in its wheel.

A finite-state grammar of the phrases alone bends whatever it hears into one of them: "what time is
it" comes out as a command more often than not. pocketsphinx has no word for "none of these", and its
scores do not tell (measured: no threshold on them separates). So the grammar holds rivals:

    start --- the phrases and STOP, exactly ----------------------------> end
      \\--- any word --- any word --- ... (a chain, `_CHAIN` words at most) -/

where any word is one of the phrases' words or of the decoys, and each costs. What takes the lower
road is no phrase, and says so; "do not pick up the red cube" and "pick up the yellow cube" are
heard as themselves. A chain, not a loop: a loop over n words makes n * n transitions here, and
thirty times the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from edge_wam.errors import VoiceError
from edge_wam.sense.grammar import UNKNOWN, Grammar, make_grammar
from edge_wam.sense.sound import RATE_HZ, Block
from edge_wam.types import Words

_CHAIN = 8
_RIVAL = 1e-8  # what each word of the lower road costs: less hears fewer commands wrongly, and misses fewer
_SENTENCE_GAP_S = 0.7  # between two sentences; the end-pointer ends one after 0.3 s
_NAME = "commands"
_Arc = tuple[int, int, float] | tuple[int, int, float, str]


class SphinxRecogniser:
    """pocketsphinx with a grammar. Loads in about 0.2 s, 40 MiB.

    The end-pointer finds where somebody speaks. While they do, the decoder's partial results are
    watched for STOP; when they end, the whole utterance is decoded once more, its loudness and
    colour normalised over itself instead of over what came before, and that is the final result.
    """

    def __init__(self, language: str, phrases: Iterable[str]) -> None:
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
        self.grammar: Grammar = make_grammar(
            language,
            phrases,
            lambda word: decoder.lookup_word(word) is not None,
            lambda: _read_dictionary(Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))),
            self.name,
        )
        decoder.add_fsg(_NAME, decoder.create_fsg(_NAME, 0, 1, network(self.grammar)))
        decoder.activate_search(_NAME)
        self._decoder = decoder
        self._ends = pocketsphinx.Endpointer(window=0.3, ratio=0.9, vad_mode=pocketsphinx.Vad.STRICT)
        self._frame_bytes: int = self._ends.frame_bytes
        self._frames = 0
        self._rejected_end_s = -math.inf
        self._waiting = b""  # sound that does not fill a frame yet
        self._said = b""  # the utterance so far
        self._partial = ""

    def hear(self, block: Block) -> list[Words]:
        """Feed a block; what it brought to light: nothing, changed partial results, or final ones."""
        self._waiting += block.samples.tobytes()
        found: list[Words] = []
        while len(self._waiting) >= self._frame_bytes:
            frame, self._waiting = self._waiting[: self._frame_bytes], self._waiting[self._frame_bytes :]
            was_speech = self._ends.in_speech
            speech = self._ends.process(frame)
            self._frames += 1
            if speech is None:
                continue
            t_s = block.t_s - len(self._waiting) / (2 * RATE_HZ)
            if not was_speech:
                self._decoder.start_utt()
                self._said, self._partial = b"", ""
            self._said += speech
            if self._ends.in_speech:
                self._decoder.process_raw(speech, False, False)
                found += self._partial_words(t_s)
            else:
                found += self._final_words(t_s)
        return found

    def _partial_words(self, t_s: float) -> list[Words]:
        hypothesis = self._decoder.hyp()
        text = hypothesis.hypstr if hypothesis else ""
        if text == self._partial:
            return []
        self._partial = text
        return [Words(text, t_s, 0.0, False, self.grammar.language)] if text else []

    def _final_words(self, t_s: float) -> list[Words]:
        self._decoder.end_utt()
        self._decoder.start_utt()
        self._decoder.process_raw(self._said, False, True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        text = hypothesis.hypstr if hypothesis else ""
        begin_s, end_s = self._ends.speech_start, self._ends.speech_end  # in the time of the frames fed
        known = self.grammar.is_phrase(text) or self.grammar.is_stop(text)
        # After a pause the rest of a sentence looks like a sentence: "do not ... pick up the red cube".
        if not known or (begin_s < self._rejected_end_s + _SENTENCE_GAP_S and not self.grammar.is_stop(text)):
            known, text = False, f"{UNKNOWN} {text}".strip()
            self._rejected_end_s = end_s
        t_s -= self._frames * self._ends.frame_length - end_s
        return [Words(text, t_s, 1.0 if known else 0.0, True, self.grammar.language)]


def network(grammar: Grammar) -> list[_Arc]:
    """The grammar as transitions (from, to, probability[, word]) of a network that runs from 0 to 1."""
    arcs: list[_Arc] = []
    states = 2
    branches: dict[tuple[int, str, bool], int] = {}
    for sentence in (*grammar.phrases, *grammar.stop_words):  # a tree: common beginnings are shared
        state, words = 0, sentence.split()
        for index, word in enumerate(words):
            branch = (state, word, index == len(words) - 1)
            if branch not in branches:
                branches[branch] = 1 if branch[2] else states
                states += not branch[2]
                arcs.append((state, branches[branch], 1.0, word))
            state = branches[branch]
    rivals = sorted({word for text in (*grammar.phrases, *grammar.decoys) for word in text.split()})
    state = 0
    for _ in range(_CHAIN):
        arcs += [(state, states, _RIVAL, word) for word in rivals]
        arcs.append((states, 1, 1.0))
        state, states = states, states + 1
    return arcs


def _read_dictionary(path: Path) -> list[str]:
    """Words of a CMU dictionary: the first column, without the (2) of further pronunciations."""
    lines = path.read_text("utf-8", "replace").splitlines()
    return [line.split()[0] for line in lines if line and "(" not in line.split()[0]]
