"""Somebody who talks to the robot, for the tests of what it answers."""

from __future__ import annotations

from edge_wam.sense.dialogue import Dialogue
from edge_wam.sense.understand import Understanding
from edge_wam.sim import tasks
from edge_wam.types import Words

COMMANDS = tasks.commands()
RED, LEFT = "pick up the red cube", "push the red cube to the left"


class Person:
    """Somebody who talks to the robot; the clock is theirs."""

    def __init__(self, language="en", **settings):
        phrases = [command.phrases[language] for command in COMMANDS]
        self.dialogue = Dialogue(Understanding(language, phrases), language, **settings)
        self.now_s = 100.0

    def says(self, text, after_s=1.0):
        self.now_s += after_s
        return self.dialogue.hear(Words(text, self.now_s, 1.0, True, "en"))
