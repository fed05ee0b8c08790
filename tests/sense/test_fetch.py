"""Fetching a model, from a server on this machine that misbehaves on request."""

import hashlib
import http.server
import io
import threading
import zipfile

import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense.fetch import MODELS, VoiceModel, fetch_voice, model_for, unpack_safely

FOLDER = "vosk-model-tiny"


def zipped(*entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries:
            file.writestr(name, content)
    return buffer.getvalue()


GOOD = zipped((f"{FOLDER}/am/final.mdl", bytes(range(256)) * 2000), (f"{FOLDER}/README", "hello"))


class Server:
    """Serves `content`, of which a request sends no more than `at_most` bytes; keeps the ranges asked for."""

    def __init__(self):
        self.content, self.at_most, self.ranges_work, self.ranges = GOOD, 1 << 30, True, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path != "/model.zip":
                    self.send_error(404)
                    return
                wanted = self.headers.get("Range")
                outer.ranges.append(wanted)
                first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and outer.ranges_work else 0
                self.send_response(206 if first else 200)
                self.send_header("Content-Length", str(len(outer.content) - first))
                self.end_headers()
                self.wfile.write(outer.content[first : first + outer.at_most])

            def log_message(self, *arguments):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/model.zip"

    def close(self):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server():
    serving = Server()
    yield serving
    serving.close()


def model(url="http://127.0.0.1:9/model.zip", content=GOOD, **changes):
    sha256 = hashlib.sha256(content).hexdigest()
    return VoiceModel(FOLDER, url, len(content), sha256)._replace(**changes)


def fails(tmp_path, wanted, file=None):
    with pytest.raises(VoiceError) as caught:
        fetch_voice("en", file=file, into=tmp_path / "voices", model=wanted)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "voices" / FOLDER).exists()
    return str(caught.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_model_is_downloaded_checked_and_unpacked(tmp_path, server, capfd):
    folder = fetch_voice("en", into=tmp_path / "voices", model=model(server.url))
    assert (folder / "README").read_text() == "hello"
    assert (folder / "am" / "final.mdl").stat().st_size == 512_000
    assert names(tmp_path / "voices") == [FOLDER]  # no .part, no half-unpacked folder
    assert "100%" in capfd.readouterr().err


def test_nothing_is_asked_of_the_network_when_it_is_there(tmp_path):
    (tmp_path / FOLDER).mkdir()
    assert fetch_voice("en", into=tmp_path, model=model()) == tmp_path / FOLDER


def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path, server):
    server.at_most = 200_000
    assert "goes on where it stopped" in fails(tmp_path, model(server.url))
    server.at_most = 1 << 30
    fetch_voice("en", into=tmp_path / "voices", model=model(server.url))
    assert server.ranges == [None, "bytes=200000-"]


def test_a_server_without_ranges_begins_anew(tmp_path, server):
    server.at_most = 200_000
    fails(tmp_path, model(server.url))
    server.at_most, server.ranges_work = 1 << 30, False
    assert fetch_voice("en", into=tmp_path / "voices", model=model(server.url)).is_dir()


def test_a_wrong_sum_is_refused_and_the_download_removed(tmp_path, server):
    wrong = bytearray(GOOD)
    wrong[100] ^= 1
    server.content = bytes(wrong)
    assert "sha256" in fails(tmp_path, model(server.url))
    assert names(tmp_path / "voices") == []


def test_a_longer_file_is_refused(tmp_path, server):
    server.content = GOOD + b"more"
    assert f"expected {len(GOOD)} bytes" in fails(tmp_path, model(server.url))


def test_a_leftover_longer_than_the_model_is_begun_anew(tmp_path, server):
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / f"{FOLDER}.zip.part").write_bytes(bytes(len(GOOD) + 1))
    assert fetch_voice("en", into=tmp_path / "voices", model=model(server.url)).is_dir()


@pytest.mark.parametrize("path", ["/nothing.zip", None])
def test_no_network_says_how_to_do_without(tmp_path, server, path):
    url = server.url.replace("/model.zip", path) if path else "http://127.0.0.1:9/model.zip"
    assert "--file" in fails(tmp_path, model(url))


def test_a_file_that_is_here_already_is_taken_and_kept(tmp_path):
    file = tmp_path / "stick.zip"
    file.write_bytes(GOOD)
    assert fetch_voice("en", file=file, into=tmp_path / "voices", model=model()).is_dir()
    assert file.is_file()


def test_a_wrong_file_is_refused_and_kept(tmp_path):
    file = tmp_path / "stick.zip"
    file.write_bytes(GOOD[:-1] + b"x")
    assert "sha256" in fails(tmp_path, model(), file)
    assert file.is_file()
    assert "no file" in fails(tmp_path, model(), tmp_path / "missing.zip")


@pytest.mark.parametrize("name", ["../evil", f"{FOLDER}/../../evil", "/evil", "..\\evil"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    file = tmp_path / "bad.zip"
    file.write_bytes(zipped((f"{FOLDER}/README", "x"), (name, "y")))
    (tmp_path / "in").mkdir()
    with pytest.raises(VoiceError, match="outside"):
        unpack_safely(file, tmp_path / "in")
    assert names(tmp_path / "in") == []


def test_an_archive_with_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo(f"{FOLDER}/link")
    link.external_attr = 0o120777 << 16
    file = tmp_path / "bad.zip"
    file.write_bytes(zipped((link, "/etc/passwd")))
    with pytest.raises(VoiceError, match="outside"):
        unpack_safely(file, tmp_path)


def test_an_archive_of_another_model_is_refused(tmp_path):
    other = zipped(("vosk-model-other/README", "x"))
    file = tmp_path / "other.zip"
    file.write_bytes(other)
    assert f"no folder {FOLDER}" in fails(tmp_path, model(content=other), file)


def test_what_is_no_zip_is_refused(tmp_path):
    file = tmp_path / "bad.zip"
    file.write_bytes(b"not a zip at all")
    assert "not a whole zip" in fails(tmp_path, model(content=b"not a zip at all"), file)


def test_an_unknown_language_names_the_known_ones():
    with pytest.raises(VoiceError, match="known: en"):
        model_for("fr")


def test_the_english_model_is_the_one_published():
    assert MODELS["en"].size == 41_205_931
    assert MODELS["en"].sha256.startswith("30f26242c4eb449f")
    assert all(
        found.url.endswith(f"/{found.folder}.zip") and len(found.sha256) == 64 for found in MODELS.values()
    )
