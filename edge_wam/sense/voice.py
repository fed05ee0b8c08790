"""From sound to words: which recogniser is used, and the process it runs in.

    source -> recogniser -> mailbox HEARD -> control

Partial results are posted when they mean STOP, final results always: as the phrase of a command that is to be
done, or marked as none. The reader of the mailbox obeys exactly a phrase. Voice is a convenience: the
emergency stop is a switch that cuts the power.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_wam.errors import VoiceError
from edge_wam.mailbox import Mailbox
from edge_wam.messages import HEARD, STATE, HeardWriter, read_state
from edge_wam.process import Life
from edge_wam.sense.agreed import Recogniser
from edge_wam.sense.button import push_to_talk, source_of
from edge_wam.sense.dialogue import Dialogue, Reply
from edge_wam.sense.engines import ENGINES
from edge_wam.sense.grammar import UNKNOWN, Beside
from edge_wam.sense.keeping import SoundKeeper
from edge_wam.sense.listener import Listener, Spoken
from edge_wam.sense.similar import LateProposer, lacking
from edge_wam.sense.sound import Block, SoundSource
from edge_wam.sense.speaker import Speaker
from edge_wam.sense.sphinx_engine import SphinxRecogniser
from edge_wam.sense.spotter import LANGUAGES, Spotter, load
from edge_wam.sense.understand import Understanding
from edge_wam.sense.vosk_engine import VARIABLE, VoskStop, find_model, open_vosk
from edge_wam.sense.waker import WAKE_WORDS, Waker, lacking_ear
from edge_wam.sense.whisper_engine import open_whisper
from edge_wam.sense.whisper_model import is_installed
from edge_wam.types import Words

_NOTHING = Beside()
_POLL_S = 0.2
_DENIED = "a STOP at first, and none when listened to once more"
_SILENT_S = 3.0  # a sound source that gives nothing, not even silence, for so long is gone


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """What the voice process needs to know. engine: auto, vosk, pocketsphinx or whisper; vosk_model and
    whisper_model '' look in the usual places; commands: what may be said for each in `language`; confirm
    and wake: see Dialogue; answers: see Speaker; mailbox: name of a HEARD; state_box: of the STATE that
    says what is being done; keep_in, keep_mb: see SoundKeeper (0: none); push: whether a button has to be
    held, button and key: which (button.source_of), talk_box: a TALK where others tell of theirs ('' none);
    spotter: the folder of its model ('' none)."""

    engine: str
    language: str
    vosk_model: str
    commands: tuple[tuple[str, ...], ...]
    mailbox: str
    confirm: str = "unsure"
    wake: str = ""
    answers: str = "off"
    state_box: str = ""
    keep_in: str = ""
    keep_mb: float = 0.0
    push: bool = False
    button: str = ""
    key: int = 0
    talk_box: str = ""
    whisper_model: str = ""
    spotter: str = ""


def open_recogniser(
    engine: str,
    language: str,
    phrases: Sequence[str],
    vosk_model: str = "",
    beside: Beside = _NOTHING,
    whisper_model: str = "",
    understanding: Understanding | None = None,
    apart: bool = False,
) -> Recogniser:
    """The recogniser of the settings. 'auto': Vosk if a model is found; else, in English, whisper where it is
    installed, or pocketsphinx. 'whisper': that for commands, for STOP Vosk or pocketsphinx as before;
    understanding: its commands (None: each phrase is one); apart: see SphinxRecogniser.

    VoiceError if that one cannot hear this language, its package
    or model is missing, or one of the phrases has a word that it does not know.
    """
    if engine not in ENGINES:
        raise VoiceError(f"voice.engine: expected one of {', '.join(ENGINES)}, found '{engine}'")
    folder = None if engine == "pocketsphinx" else find_model(language, vosk_model)
    if engine == "auto" and language == "en" and folder is None:
        engine = "whisper" if is_installed(whisper_model) else "pocketsphinx"
    if engine == "whisper":
        stop = (
            SphinxRecogniser(language, phrases, beside, commands=False)
            if folder is None
            else VoskStop(folder, language, phrases, beside)
        )
        known = understanding or Understanding(language, [[phrase] for phrase in phrases])
        return open_whisper(whisper_model, stop, known)
    if engine == "pocketsphinx":
        return SphinxRecogniser(language, phrases, beside, apart)
    if folder is not None:
        return open_vosk(folder, language, phrases, beside, understanding)
    raise VoiceError(
        f"no Vosk model for '{language}' in voice.vosk_model, ${VARIABLE} or the usual places; "
        f"try: edge-wam fetch-voice {language}"
        + (", or voice.engine = 'pocketsphinx'" if language == "en" else "")
    )


def open_spotter(
    folder: str, language: str, say: Callable[[str], None], judged: bool = False
) -> Spotter | None:
    """The ear for STOP alone; None if there is no folder, or it does not know the language, which is said.
    judged: see Spotter."""
    if not folder:
        return None
    if language not in LANGUAGES:
        say(f"voice.stop_spotter: knows {', '.join(LANGUAGES)}, not '{language}'; the recogniser hears STOP")
        return None
    return Spotter(load(Path(folder)), language, judged=judged)


def open_waker(word: str, say: Callable[[str], None]) -> Waker | None:
    """The ear for the wake word; None if it is another word, or its package is not there, which is said."""
    if (known := word.casefold().strip()) not in WAKE_WORDS:
        return None
    if why := lacking_ear(known):
        say(f"voice.wake '{known}': heard by the recogniser, as any name: {why}")
        return None
    return Waker(known)


def describe(recogniser: Recogniser) -> str:
    """One line for people: which recogniser listens, in which language, for how many phrases."""
    grammar = recogniser.grammar
    stop = ", ".join(grammar.stop_words)
    return (
        f"listening with {recogniser.name}: {len(grammar.phrases)} phrases ({grammar.language}), STOP: {stop}"
    )


def voice_main(
    life: Life,
    settings: VoiceSettings,
    open_source: Callable[[], SoundSource],
    say: Callable[[str], None] | None = None,
) -> None:
    """The voice process, a `process.Main`: listen until told to stop. VoiceError ends it with its reason.

    `open_source` makes the microphone in this process (a class or a functools.partial: it is pickled).
    """
    say, language = say or _say, settings.language
    phrases = [phrase for command in settings.commands for phrase in command]
    understanding = Understanding(language, settings.commands)
    beside = understanding.beside(settings.wake)
    recogniser = open_recogniser(
        settings.engine,
        language,
        phrases,
        settings.vosk_model,
        beside,
        settings.whisper_model,
        understanding,
        apart=True,
    )
    say(describe(recogniser))
    with contextlib.ExitStack() as stack:
        writer = HeardWriter(stack.enter_context(Mailbox.open(settings.mailbox, HEARD)))
        doing = None
        if settings.state_box:
            doing = functools.partial(_doing, stack.enter_context(Mailbox.open(settings.state_box, STATE)))
        held = propose = None
        if settings.push:
            source = source_of(settings.button, settings.key)
            held = stack.enter_context(push_to_talk(source, settings.talk_box, say))
        if not lacking(language):
            propose = LateProposer(understanding, settings.commands, say)
        waker = open_waker(settings.wake, say)
        woken = None if waker is None else functools.partial(getattr, waker, "heard_s")
        dialogue = Dialogue(
            understanding, language, settings.confirm, settings.wake, doing, held, propose, woken
        )
        speaker = Speaker(settings.answers, language, say)
        stack.callback(speaker.close)
        keeper = None
        if settings.keep_mb:
            keeper = SoundKeeper(Path(settings.keep_in), settings.keep_mb, say)
            stack.callback(keeper.close)
            say(f"what is heard is kept in {settings.keep_in}")
        sound = open_source()
        stack.callback(sound.stop)
        sound.start()
        life.ready()
        talk = Talk(recogniser, dialogue, speaker, writer, say, keeper.keep if keeper else None)
        spotter = open_spotter(settings.spotter, language, say, recogniser.judge is not None)
        listener = Listener(recogniser, spotter, waker)
        listen(sound, listener, talk.hear, life.wait, keeper.feed if keeper else None)


class Loudspeaker(Protocol):
    """What answers, and knows when the robot itself can be heard: see Speaker."""

    def answer(self, reply: Reply) -> None: ...
    def audible(self, t_s: float) -> bool: ...


class Post(Protocol):
    """What takes words to the control process: see HeardWriter."""

    def put(self, words: Words, *, stop: bool, said: str = "", why: str = "") -> None: ...


class Talk:
    """What is done with everything that was heard: STOP goes on at once; a sentence is understood, answered,
    and goes on as the command's own phrase, or marked as none."""

    def __init__(
        self,
        recogniser: Recogniser,
        dialogue: Dialogue,
        speaker: Loudspeaker,
        writer: Post,
        say: Callable[[str], None],
        keep: Callable[[Words, str, str], None] | None = None,
    ) -> None:
        """keep: told each sentence once it is over, what is done, and why not."""
        self._recogniser, self._dialogue, self._speaker = recogniser, dialogue, speaker
        self._writer, self._say, self._keep = writer, say, keep
        self._asked = False

    def hear(self, heard: Spoken) -> None:
        """One piece of news."""
        words, stop = heard
        if stop:
            self._writer.put(words, stop=True)
            self._dialogue.stopped()
            if words.final and self._keep is not None:
                self._keep(words, "stop", "")
        elif words.final:
            if self._speaker.audible(words.t_s):
                reply = Reply(why="the robot itself was speaking")
            else:
                reply = self._dialogue.hear(words)
            text = reply.order or f"{UNKNOWN} {words.text.removeprefix(UNKNOWN).strip()}"
            why = reply.why + _quoted(reply.say)
            self._writer.put(words._replace(text=text), stop=False, said=words.text, why=why)
            self._say(f'voice: "{words.text}": {reply.order or reply.why}' + _quoted(reply.say))
            self._speaker.answer(reply)
            if self._keep is not None:
                self._keep(words, reply.order, reply.why)
        else:
            self._writer.put(words, stop=False, said=words.text, why=_DENIED)
        if words.final and self._asked != bool(self._dialogue.asked(words.t_s)):
            self._asked = not self._asked
            self._recogniser.expect_reply(self._asked)


def _quoted(text: str) -> str:
    return f'; "{text}"' if text else ""


def _doing(states: Mailbox) -> str:
    letter = states.get()
    state = None if letter is None else read_state(letter.record)
    return state.command if state is not None and state.running else ""


def listen(
    source: SoundSource,
    listener: Listener,
    heard: Callable[[Spoken], None],
    stopped: Callable[[float], bool],
    feed: Callable[[Block], object] | None = None,
) -> None:
    """From source to `heard`, block by block, until `stopped(0.0)`. VoiceError if the source dries up. feed:
    shown every block before it is heard."""
    silent_s = 0.0
    while not stopped(0.0):
        block = source.read(_POLL_S)
        if block is None:
            silent_s += _POLL_S
            if silent_s >= _SILENT_S:
                raise VoiceError(f"the microphone has given no sound for {_SILENT_S:g} s; is it plugged in?")
            continue
        silent_s = 0.0
        if feed is not None:
            feed(block)
        for news in listener.hear(block):
            heard(news)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
