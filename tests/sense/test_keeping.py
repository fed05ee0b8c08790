"""Sound is kept for who wants it: each sentence whole, the oldest go, and no disk holds up STOP."""

import json
import threading
import time

import numpy as np
import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense import keeping
from edge_wam.sense.keeping import LONGEST_S, SoundKeeper
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, Block
from edge_wam.sense.wav import read_wav
from edge_wam.types import Words


def block(number):
    return Block(np.full(BLOCK_SAMPLES, number, np.int16), number * BLOCK_S)


def words(text):
    return Words(text, 0.0, 0.75, True, "en")


@pytest.fixture
def keep(tmp_path):
    """keep(most_mb) -> a keeper, and what it says."""
    made = []

    def make(most_mb=10.0, folder=None):
        said = []
        made.append(SoundKeeper(folder or tmp_path / "heard", most_mb, said.append))
        return made[-1], said

    yield make
    for one in made:
        one.close()


def test_each_sentence_is_what_came_since_the_last(keep, tmp_path):
    keeper, said = keep()
    for number in (1, 2, 3):
        keeper.feed(block(number))
    keeper.keep(words("pick up the red cube"), "pick up the red cube", "")
    time.sleep(0.002)  # files are named by the millisecond
    keeper.feed(block(4))
    keeper.keep(words("[unk] cube"), "", "no command")
    keeper.close()
    first, second = sorted((tmp_path / "heard").glob("*.wav"))
    assert read_wav(first)[::BLOCK_SAMPLES].tolist() == [1, 2, 3]
    assert read_wav(second)[::BLOCK_SAMPLES].tolist() == [4]
    about = json.loads(second.with_suffix(".json").read_text())
    assert about == {"heard": "[unk] cube", "confidence": 0.75, "did": "", "why": "no command"}
    assert (first.stat().st_mode & 0o777, first.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert said == []


def test_of_a_long_silence_only_the_end_is_kept(keep, tmp_path):
    keeper, _ = keep()
    for number in range(round(3 * LONGEST_S / BLOCK_S)):
        keeper.feed(block(number % 1000))
    keeper.keep(words("go home"), "go home", "")
    keeper.close()
    (path,) = (tmp_path / "heard").glob("*.wav")
    assert len(read_wav(path)) == round(LONGEST_S / BLOCK_S) * BLOCK_SAMPLES


def test_the_oldest_go_with_what_is_told_of_them(keep, tmp_path):
    keeper, _ = keep(most_mb=0.005)  # two of 1,964 bytes
    for number in range(4):
        keeper.feed(block(number))
        keeper.keep(words(str(number)), "", "")
        time.sleep(0.002)
    keeper.close()
    left = sorted((tmp_path / "heard").glob("*.wav"))
    assert [read_wav(path)[0] for path in left] == [2, 3]
    assert sorted(path.stem for path in (tmp_path / "heard").glob("*.json")) == [path.stem for path in left]


def test_a_disk_that_hangs_costs_sentences_and_no_time(keep, monkeypatch, tmp_path):
    free = threading.Event()
    write = keeping.write_wav

    def hang(path, sound):
        free.wait(10.0)
        write(path, sound)

    monkeypatch.setattr(keeping, "write_wav", hang)
    keeper, _ = keep()
    began_s = time.monotonic()
    for number in range(30):
        keeper.feed(block(number))
        keeper.keep(words(str(number)), "", "")
        time.sleep(0.001)
    assert time.monotonic() - began_s < 5.0
    free.set()
    keeper.close()
    assert 0 < len(list((tmp_path / "heard").glob("*.wav"))) < 30


def test_a_full_disk_is_told_once(keep, monkeypatch, tmp_path):
    def full(path, sound):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "write_wav", full)
    keeper, said = keep()
    for _ in range(3):
        keeper.keep(words("go home"), "go home", "")
    keeper.close()
    assert len(said) == 1
    assert said[0].endswith("No space left on device")
    assert list((tmp_path / "heard").iterdir()) == []


def test_a_folder_that_cannot_be_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VoiceError, match=r"cannot be kept in .*try: --set voice.keep_audio_mb=0"):
        SoundKeeper(tmp_path / "file" / "heard", 1.0, print)
