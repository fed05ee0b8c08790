"""A function in a process of its own: for libraries that let no other thread run while they work.

    decode = Apart(make_decoder, "en", phrases)   # make_decoder("en", phrases) is called over there, now
    decode(sound)                                 # and what it made here as if it were here; threads go on

The process yields to others (nice), ignores what a terminal sends, and ends with whoever began it: their pipe
ends then. What is sent through that is pickled, by us, for us.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from edge_wam.errors import VoiceError
from edge_wam.process import behind

_NICE = 5


class Apart:
    """What make(*arguments) makes, to be called by one thread at a time. make: a function or class of a
    module; what is given and returned has to be picklable."""

    def __init__(self, make: Callable[..., Callable[..., Any]], *arguments: object, name: str) -> None:
        """Does not wait until it is made. name: what the process is called by top, and by us."""
        self._made, self.name = (make, arguments), name
        self._start()

    def __call__(self, *arguments: object) -> Any:
        """What the function returns. VoiceError if the process dies at it twice: an exception of the function
        is its end."""
        for _ in range(2):
            try:
                self._pipe.send(arguments)
                return self._pipe.recv()
            except (EOFError, OSError):
                self._end()
                self._start()
        raise VoiceError(f"the process '{self.name}' has died twice; its last words are above")

    @property
    def pid(self) -> int:
        """Of the process, which may be another after a call."""
        return self._process.pid

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        words = [sys.executable, "-m", __name__, str(theirs.fileno()), self.name]
        # It has to find what we found.
        surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=surroundings
        )
        theirs.close()  # else the pipe would not end when the process does
        self._end = weakref.finalize(self, _end, self._pipe, self._process)
        with contextlib.suppress(OSError):  # it is dead already: the first call finds out
            self._pipe.send(self._made)


def _end(pipe: Connection, process: subprocess.Popen[bytes]) -> None:
    pipe.close()
    process.kill()  # it may be in the middle of something that nobody wants any more
    process.wait()


def _main() -> None:
    pipe = Connection(int(sys.argv[1]))
    behind(sys.argv[2])
    os.nice(_NICE)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody is there any more
        make, arguments = pipe.recv()
        work = make(*arguments)
        while True:
            pipe.send(work(*pipe.recv()))


if __name__ == "__main__":
    _main()
