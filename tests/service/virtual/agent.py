"""Runs what it is told on the second serial line, a line of JSON each way (virtual.py)."""

from __future__ import annotations

import json
import os
import subprocess
import tty


def main() -> None:
    line = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)

    def say(**answer: object) -> None:
        data = json.dumps(answer).encode() + b"\n"
        while data:
            data = data[os.write(line, data) :]

    say(code=0, out="", err="")
    while True:
        data = b""
        while not data.endswith(b"\n"):
            data += os.read(line, 4096)
        asked = json.loads(data)
        try:
            ran = subprocess.run(
                asked["words"],
                input=asked["wish"] or "",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=asked["timeout_s"],
                check=False,
            )
            say(code=ran.returncode, out=ran.stdout, err=ran.stderr)
        except subprocess.TimeoutExpired as error:
            say(code=124, out="", err=str(error))


if __name__ == "__main__":
    main()
