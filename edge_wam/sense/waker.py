"""An ear for a wake word: microWakeWord's small networks, which know four of them and nothing else.

The recognisers hear a name as they hear any word: bent from what was like it, or not at all. These networks
(Kevin Ahrendt's, Apache-2.0, 50 to 80 kB; in the wheel of pymicro-wakeword) were trained on one word each.
That the robot was called is theirs to say; what it is to do, and STOP, never.
"""

from __future__ import annotations

import importlib.util
import math

from edge_wam.errors import VoiceError
from edge_wam.sense.sound import Block

PACKAGE = "pymicro_wakeword"
HOW_TO = "pip install 'edge-wam[wake]'"
WAKE_WORDS = ("okay nabu", "hey jarvis", "alexa", "hey mycroft")
_ONE_S = 1.0  # what is heard again within it is the same word: between its strides the network tells nothing


class Waker:
    """Hears one wake word. heard_s: when it was heard last, -inf before that."""

    def __init__(self, word: str) -> None:
        """VoiceError if the package is not there, or is built for another machine."""
        try:
            from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

            self._network = MicroWakeWord.from_builtin(Model(word.replace(" ", "_")))
        except (ImportError, OSError) as error:  # its library wants glibc 2.35
            raise VoiceError(f"voice.wake '{word}': no {PACKAGE} ({error}); try: {HOW_TO}") from error
        self._features = MicroWakeWordFeatures()
        self._on_s = -math.inf
        self.heard_s = -math.inf

    def hear(self, block: Block) -> None:
        """Feed a block. The word is heard some 0.2 s after its end."""
        for features in self._features.process_streaming(block.samples.tobytes()):
            if self._network.process_streaming(features):
                if block.t_s > self._on_s + _ONE_S:
                    self.heard_s = block.t_s
                self._on_s = block.t_s


def lacking_ear(word: str) -> str:
    """Why a wake word has no ear of its own, '' if it can have one; nothing is loaded."""
    if word not in WAKE_WORDS:
        return f"only {', '.join(WAKE_WORDS)}"
    return "" if importlib.util.find_spec(PACKAGE) else f"no {PACKAGE}; to have it: {HOW_TO}"
