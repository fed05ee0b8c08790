"""The STOP spotter's training: what is trained is what runs, and what is asked of it."""

import numpy as np
import pytest
import torch

from edge_wam.sense.spotter import BANDS, Network
from edge_wam.sim import kokoro, sentences, speakers
from edge_wam.train import stop, stop_augment, stop_data, stop_people, stop_voices
from edge_wam.train.stop_words import Talk, with_stop


def shaken(seed=0):
    """A network whose every number matters."""
    torch.manual_seed(seed)
    model = stop.StopNet(16, (1, 2, 4))
    with torch.no_grad():
        for name, one in [*model.named_parameters(), *model.named_buffers()]:
            if "norm" in name and one.dtype == torch.float32:
                one.uniform_(0.3, 1.5)
    return model.eval()


def test_the_numpy_network_is_the_torch_one():
    model = shaken()
    frames = np.random.default_rng(0).normal(0, 1, (151, BANDS)).astype(np.float32)
    with torch.no_grad():
        wanted = model(torch.from_numpy(frames)[None])[0].numpy()
    network = Network(model.arrays(), model.dilations)
    found = np.concatenate([network.hear(frames[at : at + 6]) for at in range(0, 151, 6)])
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-4


def loss(fires_at, end, language=0, column=0):
    """Of a clip whose output jumps at a step."""
    logits = torch.full((1, 100, 2), -8.0)
    if fires_at is not None:
        logits[0, fires_at, column] = 8.0
    return float(stop.loss_of(logits, torch.tensor([language]), torch.tensor([end])))


def test_what_is_asked_is_one_sure_step_at_the_end_of_the_word_and_none_elsewhere():
    assert loss(None, -1) < 0.01
    assert loss(50, 100) < 0.01  # the end, in frames, is step 50
    assert loss(56, 100) < 0.01
    assert loss(60, 100) > 5.0  # too late: not wrong, but missed
    assert loss(20, 100) > 5.0  # long before: wrong, and missed
    assert loss(None, 100) > 5.0
    assert loss(30, -1) > 5.0
    assert loss(50, 100, column=1) > 5.0  # the other language's output
    assert 1.0 < loss(30, -1, column=1) < loss(30, -1)  # weighs less
    assert loss(None, 100, language=1) > 5.0


def test_training_goes_on_where_it_was_ended(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    np.savez(
        tmp_path / "data/shard-000.npz",
        features=rng.normal(0, 1, (40, 200, BANDS)).astype(np.float16),
        language=rng.integers(0, 2, 40).astype(np.int8),
        end=np.where(rng.random(40) < 0.5, 120, -1).astype(np.int16),
    )
    for name, legs in (("whole", (4,)), ("parts", (2, 4))):
        for last in legs:
            stop.train(tmp_path / "data", tmp_path / name, last, 0, batch=8, of=4)
    whole, parts = (stop.read(tmp_path / name).arrays() for name in ("whole", "parts"))
    for name, one in whole.items():
        assert parts[name] == pytest.approx(one, abs=1e-6), name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_of_the_bench_is_in_the_sentences(language):
    rng, talk = np.random.default_rng(0), Talk()
    bench = {one.text for one in sentences.said(language, rng)["stop_in"]}
    bench |= {one.text for one in sentences.said(language, rng)["near_miss"]}
    others = {talk.sentence(language, rng) for _ in range(400)}
    stops = {with_stop(language, rng) for _ in range(400)}
    assert not bench & (stops | others)
    assert not set(sentences.EVERYDAY[language]) & others
    assert all(speakers.stop_word(text, language) for text in stops)
    assert not any(speakers.stop_word(text, language) for text in others)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_voice_of_the_bench_is_trained_on(language):
    bench = {voice.argument for voice in speakers.VOICES if voice.program == "espeak"}
    variants = {argument.partition("+")[2] for argument in bench if (language == "zh") == ("cmn" in argument)}
    assert variants == set(stop_voices.HELD_OUT[language]) - ({""} if language == "zh" else set())


def test_no_voice_that_chooses_or_judges_is_trained_on():
    names = [
        "af_heart",
        "af_nova",
        "am_eric",
        "bm_george",
        "zf_xiaobei",
        "zf_xiaoyi",
        "zm_yunyang",
        "if_sara",
    ]
    assert kokoro.teachers(names, "en") == (["af_heart", "bm_george"], ["zf_xiaobei", "if_sara"])
    assert kokoro.teachers(names, "zh") == (["zf_xiaobei"], ["af_heart", "bm_george", "if_sara"])
    judges = {voice.argument for voice in speakers.VOICES if voice.program == "kokoro"}
    assert judges == {name for some in kokoro.JUDGE.values() for name in some}
    assert not judges & {name for some in kokoro.CHOOSE.values() for name in some}


def test_voices_to_train_on_are_mixed_and_carried_away_and_none_of_them_judges():
    free = ["af_heart", "am_adam", "bf_emma", "if_sara", "zf_xiaobei"]
    names = [*free, *kokoro.JUDGE["en"], *kokoro.CHOOSE["zh"]]
    rng = np.random.default_rng(0)
    some = [kokoro.drawn(names, "en", rng) for _ in range(300)]
    assert {name for one in some for name in one} == set(free)
    assert all(sum(one.values()) == pytest.approx(1) for one in some)
    away = [one for one in some if min(one.values()) < 0]
    assert 60 < len(away) < 150
    assert all(len(one) == 2 and min(one.values()) >= -0.6 for one in away)
    assert 50 < sum(len(one) == 1 for one in some) < 150


def kept(folder, who, language, stop_end, count):
    for i in range(count):
        sound = np.full(4_000 + i, 0.25, np.float32)
        stop_people._keep(folder / f"{who}-{language}-{i:05d}.npz", stop_voices.Utterance(sound, stop_end))


def test_who_is_kept_for_choosing_is_in_no_clip_that_is_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(stop_data, "sentences", lambda *args: [])
    kept(tmp_path, "kokoro", "en", 2_000, 3)
    kept(tmp_path, "kokorochoose", "en", 2_000, 2)
    kept(tmp_path, "ked", "en", None, 4)
    kept(tmp_path, "prompts", "all", None, 14)
    found = {
        (stop, validation): {
            who: len(some) for who, some in stop_data.bank(tmp_path, "en", stop, validation, [0]).items()
        }
        for stop in (True, False)
        for validation in (True, False)
    }
    assert found[True, False] == {"kokoro": 3}
    assert found[True, True] == {"kokorochoose": 2}
    assert found[False, False] == {"festival": 4, "prompts": 12}
    assert found[False, True] == {"prompts": 2}
    (one, *_) = stop_people.load(tmp_path, "kokoro", "en")
    assert one.stop_end == 2_000
    assert one.samples == pytest.approx(np.full(4_000, 0.25), abs=1e-4)


def test_sentences_are_drawn_by_the_shares_of_who_says_them():
    some = {who: [stop_voices.Utterance(np.zeros(n, np.float32), None)] for n, who in enumerate("abc", 1)}
    rng = np.random.default_rng(0)
    shares = {"a": (0.0, 3.0), "b": (1.0, 1.0), "c": (3.0, 0.0)}
    for said, wanted in ((True, {2: 0.25, 3: 0.75}), (False, {1: 0.75, 2: 0.25})):
        lengths = [len(stop_data.drawn(some, shares, said, rng).samples) for _ in range(2_000)]
        counted = {n: lengths.count(n) / 2_000 for n in sorted(set(lengths))}
        assert counted == pytest.approx(wanted, abs=0.04)


def test_a_warped_clip_still_ends_its_word_where_it_did():
    frames = np.zeros((200, BANDS), np.float32)
    frames[:120, 10:20] = 1.0
    for seed in range(40):
        found = stop_augment.warped(frames, 120, np.random.default_rng(seed))
        assert found.shape == frames.shape
        loud = found.sum(1)
        assert loud[117] > 0.5
        assert loud[123:].max() < 0.1
