"""The ear for STOP: the same whatever the pieces, refused where it is not whole, heard in other voices."""

import math
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_wam.config import home
from edge_wam.errors import VoiceError
from edge_wam.sense.dialogue import TEXTS
from edge_wam.sense.sound import BLOCK_SAMPLES, RATE_HZ, Block
from edge_wam.sense.speaker import speak
from edge_wam.sense.spotter import (
    BANDS,
    HOP,
    MANIFEST,
    STOP_MODEL,
    WEIGHTS,
    Features,
    Network,
    Spotter,
    load,
)
from edge_wam.sense.voice import open_spotter
from edge_wam.sense.wav import read_wav
from edge_wam.sim import noise, tasks
from edge_wam.sim.microphone import SAMPLES

MODEL = home() / STOP_MODEL


@pytest.fixture(scope="module")
def model():
    return load(MODEL)


def blocks(samples):
    for end in range(BLOCK_SAMPLES, len(samples) + 1, BLOCK_SAMPLES):
        yield Block(samples[end - BLOCK_SAMPLES : end], end / RATE_HZ)


def fired(model, language, samples):
    """The times (s) at which a STOP is told."""
    spotter = Spotter(model, language)
    return [block.t_s for block in blocks(samples) if spotter.hear(block)]


def room(*sounds, before_s=1.0, after_s=0.6, rms=16.0):
    parts = [
        np.concatenate([np.zeros(round(before_s * RATE_HZ)), sound, np.zeros(round(after_s * RATE_HZ))])
        for sound in sounds
    ]
    whole = np.concatenate(parts)
    return np.rint(whole + np.random.default_rng(1).normal(0, rms, len(whole))).astype(np.int16)


def test_features_and_network_do_not_care_about_the_pieces(model):
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 2000, 3 * RATE_HZ).astype(np.int16)
    whole = Features().hear(sound)
    assert whole.shape == ((len(sound) - 400) // HOP + 1, BANDS)
    logits = Network(model.arrays, model.dilations).hear(whole)
    for size in (1, 159, 161, 960, 4000):
        features, network, cuts = Features(), Network(model.arrays, model.dilations), []
        step = size if size > 1 else 37
        for at in range(0, len(sound), step):
            cuts.append(network.hear(features.hear(sound[at : at + step])))
        assert np.concatenate(cuts) == pytest.approx(logits, abs=1e-3)


def test_the_gain_of_the_microphone_hardly_matters():
    sound = np.random.default_rng(0).normal(0, 500, RATE_HZ)
    loud, soft = (Features().hear(np.rint(gain * sound).astype(np.int16)) for gain in (20, 1))
    assert np.abs(loud - soft).mean() < 0.05


def test_what_is_no_model_is_refused_in_one_line(model, tmp_path):
    def refused(match):
        with pytest.raises(VoiceError, match=match) as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)
        assert "--set voice.stop_spotter=false" in str(caught.value)

    refused("cannot read")
    shutil.copy(MODEL / MANIFEST, tmp_path)
    refused("expected weights in weights.safetensors")
    (tmp_path / WEIGHTS).write_bytes(b"not weights")
    refused("expected weights in weights.safetensors")
    arrays = load_file(MODEL / WEIGHTS)
    for name, wrong in (("out", arrays["out"][:, :1]), ("0.along", np.full_like(arrays["0.along"], np.nan))):
        save_file({**arrays, name: np.ascontiguousarray(wrong)}, tmp_path / WEIGHTS)
        refused("expected finite")
    save_file({name: one for name, one in arrays.items() if name != "into"}, tmp_path / WEIGHTS)
    refused("no 'into'")
    save_file(arrays, tmp_path / WEIGHTS)
    text = (MODEL / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text.replace("zh", "fr"))
    refused("'zh' is missing")
    (tmp_path / MANIFEST).write_text("more = 1\n" + text)
    refused("unknown key 'more'")
    (tmp_path / MANIFEST).write_text(text.replace("[sure]\nen = 0.97", "[sure]\nen = 0.1"))
    refused(r"\[sure\]: en: expected")
    (tmp_path / MANIFEST).write_text(text.replace("[asked]\nen = 0.3", "[asked]\nen = 0.9"))
    refused(r"\[asked\]: en: expected")
    (tmp_path / MANIFEST).write_text(text)
    assert load(tmp_path).thresholds == model.thresholds


# Voices that nothing was trained on. Of flite's and festival's it hears some (LOG.md).
@pytest.mark.parametrize(
    ("voice", "text"),
    [
        *(("espeak-us", "stop"), ("espeak-gb", "stop"), ("espeak-us", "robot stop moving")),
        *(("flite-awb", "stop"), ("flite-awb", "robot stop moving")),
        *(("mandarin-f3", "停下"), ("mandarin-f1", "别动")),
    ],
)
def test_stop_is_heard_in_voices_of_others(model, say, voice, text):
    language = "zh" if voice.startswith("mandarin") else "en"
    sound = say(voice, text)
    told = fired(model, language, room(sound))
    assert len(told) == 1
    assert 1.0 < told[0] < 1.0 + len(sound) / RATE_HZ + 0.25


def test_stop_is_heard_in_the_noise_of_servos(model, say):
    sound = say("espeak-us", "stop").astype(float)
    loud = noise.rms(sound[np.abs(sound) > 300])
    servos = noise.servos(4 * RATE_HZ, np.random.default_rng(7)) * loud / 10**0.5
    tape = servos.copy()
    tape[2 * RATE_HZ : 2 * RATE_HZ + len(sound)] += sound
    told = fired(model, "en", np.rint(tape).astype(np.int16))
    assert len(told) == 1
    assert 2.0 < told[0] < 2.0 + len(sound) / RATE_HZ + 0.25
    assert fired(model, "en", np.rint(servos).astype(np.int16)) == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_shipped_command_stops_the_arm(model, language):
    sounds = [read_wav(path) for path in sorted(SAMPLES.glob(f"{language}_*.wav"))]
    assert len(sounds) == 8
    assert fired(model, language, room(*sounds)) == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_the_robot_itself_says_does_not_stop_it(model, language):
    phrases = [tasks.command(name).phrases[language][0] for name in ("pick_red", "put_red_on_blue", "home")]
    texts = {text.format(phrase) for text in TEXTS[language] for phrase in phrases}
    try:
        sounds = [speak(text, language) for text in sorted(texts)]
    except VoiceError as error:
        pytest.skip(str(error))
    assert fired(model, language, room(*sounds)) == []


def test_a_second_stop_is_told_again_and_a_long_one_once(model, say):
    sound = say("espeak-us", "stop")
    assert len(fired(model, "en", room(sound, sound))) == 2


def test_what_is_possible_is_less_than_what_is_told(model):
    rng = np.random.default_rng(0)
    quiet = np.rint(rng.normal(0, 16, 3 * RATE_HZ)).astype(np.int16)
    spotter = Spotter(model, "en")
    assert not any(spotter.hear(block) for block in blocks(quiet))
    assert spotter.possible_s == -math.inf
    spotter = Spotter(model._replace(possible={"en": 1e-9, "zh": 0.5}), "en")
    assert not any(spotter.hear(block) for block in blocks(quiet))
    assert spotter.possible_s == pytest.approx(len(quiet) // BLOCK_SAMPLES * BLOCK_SAMPLES / RATE_HZ)


def test_no_spotter_where_none_is_wanted_or_its_language_is_unknown():
    lines = []
    assert open_spotter("", "en", lines.append) is None
    assert lines == []
    assert open_spotter(str(MODEL), "de", lines.append) is None
    assert "'de'" in lines[0]
