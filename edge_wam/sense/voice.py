"""From sound to words: which recogniser is used, and the process it runs in.

    source -> recogniser -> mailbox HEARD -> control

Partial results are posted when they mean STOP, final results always; what they mean is for the
reader of the mailbox to say (exactly a phrase, or nothing). Voice is a convenience: the emergency
stop is a switch that cuts the power.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from edge_wam.errors import VoiceError
from edge_wam.mailbox import Mailbox
from edge_wam.messages import HEARD, HeardWriter
from edge_wam.process import Life
from edge_wam.sense.grammar import Grammar
from edge_wam.sense.sound import Block, SoundSource
from edge_wam.sense.sphinx_engine import SphinxRecogniser
from edge_wam.sense.vosk_engine import VARIABLE, VoskRecogniser, find_model
from edge_wam.types import Words

_POLL_S = 0.2
_SILENT_S = 3.0  # a sound source that gives nothing, not even silence, for so long is gone


class Recogniser(Protocol):
    """Turns blocks of sound into words. `name` is for people."""

    name: str
    grammar: Grammar

    def hear(self, block: Block) -> list[Words]: ...


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """What the voice process needs to know. engine: auto, vosk or pocketsphinx; vosk_model '' looks in
    the usual places; phrases: everything that may be said in `language`; mailbox: name of a HEARD."""

    engine: str
    language: str
    vosk_model: str
    phrases: tuple[str, ...]
    mailbox: str


class Spoken(NamedTuple):
    """What was heard and whether it means STOP."""

    words: Words
    stop: bool


def open_recogniser(engine: str, language: str, phrases: Sequence[str], vosk_model: str = "") -> Recogniser:
    """The recogniser of the settings. 'auto': Vosk if a model is found, else pocketsphinx.

    VoiceError if that one cannot hear this language, its package or model is missing, or one of
    the phrases has a word that it does not know.
    """
    if engine not in ("auto", "vosk", "pocketsphinx"):
        raise VoiceError(f"voice.engine: expected auto, vosk or pocketsphinx, found '{engine}'")
    if engine == "pocketsphinx":
        return SphinxRecogniser(language, phrases)
    folder = find_model(language, vosk_model)
    if folder is not None:
        return VoskRecogniser(folder, language, phrases)
    if engine == "auto" and language == "en":
        return SphinxRecogniser(language, phrases)
    raise VoiceError(
        f"no Vosk model for '{language}' in voice.vosk_model, ${VARIABLE} or the usual places; "
        f"try: edge-wam fetch-voice {language}"
        + (", or voice.engine = 'pocketsphinx'" if language == "en" else "")
    )


def describe(recogniser: Recogniser) -> str:
    """One line for people: which recogniser listens, in which language, for how many phrases."""
    grammar = recogniser.grammar
    stop = ", ".join(grammar.stop_words)
    return (
        f"listening with {recogniser.name}: {len(grammar.phrases)} phrases ({grammar.language}), STOP: {stop}"
    )


class Listener:
    """A recogniser, and what of its results is news: final ones, and the first sign of a STOP.

    A partial STOP is told at once, and it stays: what that utterance ends as is told as STOP too,
    whatever words it is then thought to be. Who said stop does not want the arm to move.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._stopped = False

    def hear(self, block: Block) -> list[Spoken]:
        """Feed a block; the news, oldest first."""
        news = []
        for words in self._recogniser.hear(block):
            stop = self._recogniser.grammar.is_stop(words.text)
            if words.final:
                news.append(Spoken(words, stop or self._stopped))
                self._stopped = False
            elif stop and not self._stopped:
                news.append(Spoken(words, True))
                self._stopped = True
        return news


def voice_main(
    life: Life,
    settings: VoiceSettings,
    open_source: Callable[[], SoundSource],
    say: Callable[[str], None] | None = None,
) -> None:
    """The voice process, a `process.Main`: listen until told to stop. VoiceError ends it with its reason.

    `open_source` makes the microphone in this process (a class or a functools.partial: it is pickled).
    """
    recogniser = open_recogniser(settings.engine, settings.language, settings.phrases, settings.vosk_model)
    (say or _say)(describe(recogniser))
    with Mailbox.open(settings.mailbox, HEARD) as mailbox:
        writer, source = HeardWriter(mailbox), open_source()
        try:
            source.start()
            life.ready()
            listen(source, Listener(recogniser), writer, life.wait)
        finally:
            source.stop()


def listen(
    source: SoundSource, listener: Listener, writer: HeardWriter, stopped: Callable[[float], bool]
) -> None:
    """From source to mailbox, block by block, until `stopped(0.0)`. VoiceError if the source dries up."""
    silent_s = 0.0
    while not stopped(0.0):
        block = source.read(_POLL_S)
        if block is None:
            silent_s += _POLL_S
            if silent_s >= _SILENT_S:
                raise VoiceError(f"the microphone has given no sound for {_SILENT_S:g} s; is it plugged in?")
            continue
        silent_s = 0.0
        for words, stop in listener.hear(block):
            writer.put(words, stop=stop)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
