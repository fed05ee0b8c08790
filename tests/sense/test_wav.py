"""WAV files of every kind come out as the same sound, or not at all."""

import shutil
import subprocess
import wave

import numpy as np
import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense.sound import RATE_HZ
from edge_wam.sense.wav import read_wav, to_int16, write_wav

TONE_HZ = 440.0


def write(path, rate_hz=RATE_HZ, channels=1, width=2, seconds=0.5, level=0.5):
    """A tone on the first channel, silence on the others."""
    t_s = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = np.zeros((len(t_s), channels))
    sound[:, 0] = level * np.sin(2 * np.pi * TONE_HZ * t_s)
    if width == 1:
        raw = np.rint(sound * 127 + 128).astype(np.uint8).tobytes()
    elif width == 3:
        raw = (np.rint(sound * (2**23 - 1)).astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3]).tobytes()
    else:
        raw = np.rint(sound * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(raw)
    return path


def pitch_hz(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE_HZ / len(samples))


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_keeps_pitch_and_length(tmp_path, rate_hz):
    if rate_hz != RATE_HZ:
        pytest.importorskip("soxr")
    samples = read_wav(write(tmp_path / "a.wav", rate_hz))
    assert samples.dtype == np.int16
    assert len(samples) == pytest.approx(0.5 * RATE_HZ, abs=4)
    assert pitch_hz(samples) == pytest.approx(TONE_HZ, abs=3.0)


@pytest.mark.parametrize(("width", "tolerance"), [(1, 300), (2, 2), (3, 2), (4, 2)])
def test_any_width_keeps_the_level(tmp_path, width, tolerance):
    samples = read_wav(write(tmp_path / "a.wav", width=width))
    expected = 0.5 * 32768 * np.sin(2 * np.pi * TONE_HZ * np.arange(len(samples)) / RATE_HZ)
    assert np.abs(samples - expected).max() <= tolerance


def test_channels_are_averaged_not_interleaved(tmp_path):
    samples = read_wav(write(tmp_path / "a.wav", channels=2))
    assert len(samples) == RATE_HZ // 2
    assert pitch_hz(samples) == pytest.approx(TONE_HZ, abs=3.0)
    assert np.abs(samples).max() == pytest.approx(0.25 * 32768, rel=0.01)


def test_full_scale_is_clipped_not_wrapped():
    assert to_int16(np.float32([1.0, 1.2, -1.0, -1.2, 0.0])).tolist() == [32767, 32767, -32768, -32768, 0]


def test_there_and_back(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32767, 5000).astype(np.int16)
    write_wav(tmp_path / "a.wav", samples)
    assert (read_wav(tmp_path / "a.wav") == samples).all()


def refused(path):
    with pytest.raises(VoiceError) as caught:
        read_wav(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_wav_is_one_line(tmp_path):
    assert "no such WAV" in refused(tmp_path / "missing.wav")
    assert "directory" in refused(tmp_path).lower()
    for name, content in (("empty", b""), ("text", b"pick up the red cube"), ("riff", b"RIFF\0\0\0\0WAVE")):
        (tmp_path / name).write_bytes(content)
        assert "expected a PCM WAV" in refused(tmp_path / name)


def test_a_wav_cut_short_is_refused(tmp_path):
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:-1001])
    assert "cut short" in refused(path)


def test_a_wav_without_sound_is_refused(tmp_path):
    assert "found 0" in refused(write(tmp_path / "a.wav", seconds=0.0))


@pytest.mark.parametrize("rate_hz", [100, 3_999, 400_000])
def test_an_impossible_rate_is_refused(tmp_path, rate_hz):
    assert f"found {rate_hz}" in refused(write(tmp_path / "a.wav", rate_hz))


def test_floats_are_refused_not_read_as_integers(tmp_path):
    if shutil.which("sox") is None:
        pytest.skip("sox is not installed")
    source, path = write(tmp_path / "a.wav"), tmp_path / "f.wav"
    subprocess.run(["sox", source, "-e", "floating-point", "-b", "32", path], check=True)
    assert "expected a PCM WAV" in refused(path)
