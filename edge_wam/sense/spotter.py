"""An ear for one word: STOP, heard by a small network of our own in every state, beside the recogniser.

    sound -> 40 mel bands every 10 ms -> PCEN -> causal convolutions -> how sure, every 20 ms, by language

Recognisers wait for words to make a sentence, and in noise they make none; this one waits for nothing and
knows one word. It needs numpy alone. What it was trained on, and its figures: models/stop/README.md.

Features: Wang et al. 2017, "Trainable frontend for robust and far-field keyword spotting" (PCEN, with fixed
parameters): each band is divided by its own recent mean, so that neither the microphone's gain nor a steady
noise matters much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam import tomlfile
from edge_wam.errors import VoiceError
from edge_wam.sense.sound import RATE_HZ, Block, SoundArray

Array = NDArray[np.float32]

HOP, WINDOW, _FFT = 160, 400, 512  # samples: 10 ms, 25 ms
BANDS, _LOW_HZ, _HIGH_HZ = 40, 100.0, 7_600.0
# PCEN: the mean follows with a time constant of 0.4 s.
_FOLLOW, _ALPHA, _DELTA, _ROOT, _EPSILON = np.float32(0.025), 0.98, 2.0, 0.5, 1e-6
STRIDE, TAPS_IN, TAPS = 2, 5, 5  # of the first layer, in frames; of the others, in steps
STEP_S = STRIDE * HOP / RATE_HZ
_AGAIN_S = 1.0  # one word is told once
STOP_MODEL = "models/stop"
WEIGHTS, MANIFEST = "weights.safetensors", "spotter.toml"
FORMAT = 4
LANGUAGES = ("en", "zh")  # the order of the network's outputs


def mel_weights() -> Array:
    """Triangles of equal width on the mel scale, (257, BANDS): O'Shaughnessy's 2595 log10(1 + hz / 700)."""
    hz = np.fft.rfftfreq(_FFT, 1 / RATE_HZ)
    mel = 2595 * np.log10(1 + hz / 700)
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (_LOW_HZ, _HIGH_HZ))
    edges = np.linspace(low, high, BANDS + 2)
    up = (mel[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[None, 2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    found: Array = np.clip(np.minimum(up, down), 0, None).astype(np.float32)
    return found


_MEL = mel_weights()
_HANN = np.hanning(WINDOW).astype(np.float32)


class Features:
    """Sound to frames of PCEN, as it comes: the same whatever the pieces."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)  # heard, and not yet at a frame's beginning
        self._mean: Array | None = None

    def hear(self, samples: SoundArray) -> Array:
        """(N,) int16 more; the frames that are whole by now, (T, BANDS)."""
        sound = np.concatenate([self._rest, samples.astype(np.float32) / np.float32(32768)])
        count = max(0, (len(sound) - WINDOW) // HOP + 1)
        self._rest = sound[count * HOP :]
        if not count:
            return np.zeros((0, BANDS), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[: (count - 1) * HOP + 1 : HOP]
        spectrum = np.fft.rfft(frames * _HANN, _FFT)
        energy = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ _MEL
        mean, means = energy[0] if self._mean is None else self._mean, np.empty_like(energy)
        for t in range(count):
            mean = mean + _FOLLOW * (energy[t] - mean)
            means[t] = mean
        self._mean = mean
        gained = energy / (_EPSILON + means) ** _ALPHA
        found: Array = ((gained + _DELTA) ** _ROOT - _DELTA**_ROOT).astype(np.float32)
        return found


class Layer(NamedTuple):
    """One of the residual layers. along (TAPS, C): over time; across (C, C): over channels, (in, out)."""

    along: Array
    along_bias: Array
    across: Array
    across_bias: Array
    dilation: int


class Network:
    """The network as it streams: every call goes on where the last one ended.

    into (TAPS_IN * BANDS, C), its bias; layers; out (C, languages), its bias. See train/stop.py.
    """

    def __init__(self, arrays: dict[str, Array], dilations: tuple[int, ...]) -> None:
        """KeyError or ValueError where arrays and dilations are not of one network."""
        self._into, self._into_bias = arrays["into"], arrays["into_bias"]
        width = self._into.shape[1]
        self._layers = [
            Layer(
                arrays[f"{i}.along"],
                arrays[f"{i}.along_bias"],
                arrays[f"{i}.across"],
                arrays[f"{i}.across_bias"],
                dilation,
            )
            for i, dilation in enumerate(dilations)
        ]
        self._out, self._out_bias = arrays["out"], arrays["out_bias"]
        shapes: list[tuple[Array, tuple[int, ...]]] = [
            (self._into, (TAPS_IN * BANDS, width)),
            (self._out, (width, len(LANGUAGES))),
        ]
        for layer in self._layers:
            shapes += [(layer.along, (TAPS, width)), (layer.across, (width, width))]
            shapes += [(layer.along_bias, (width,)), (layer.across_bias, (width,))]
        for array, shape in shapes:
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"expected finite {shape}, found {array.shape}")
        self._frames = np.zeros((TAPS_IN - STRIDE, BANDS), np.float32)
        self._past = [np.zeros(((TAPS - 1) * dilation, width), np.float32) for dilation in dilations]

    def hear(self, frames: Array) -> Array:
        """(T, BANDS) frames more; logits of the steps that are whole by now, (S, languages)."""
        frames = np.concatenate([self._frames, frames])
        count = max(0, (len(frames) - TAPS_IN) // STRIDE + 1)
        self._frames = frames[count * STRIDE :]
        if not count:
            return np.zeros((0, len(LANGUAGES)), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(frames, TAPS_IN, axis=0)
        chosen = windows[: (count - 1) * STRIDE + 1 : STRIDE].transpose(0, 2, 1).reshape(count, -1)
        x: Array = np.maximum(chosen @ self._into + self._into_bias, 0)
        for i, layer in enumerate(self._layers):
            whole = np.concatenate([self._past[i], x])
            self._past[i] = whole[count:]
            y = layer.along_bias + sum(
                layer.along[tap] * whole[tap * layer.dilation : tap * layer.dilation + count]
                for tap in range(TAPS)
            )
            x = np.maximum(x + np.maximum(y, 0) @ layer.across + layer.across_bias, 0)
        found: Array = x @ self._out + self._out_bias
        return found


class Model(NamedTuple):
    """What lies in models/stop. By language, of probability: thresholds, to tell a STOP; possible, below
    which what others take for a STOP is none. Where there is a judge (doubt.py): asked, from where on it is
    asked; sure, to tell a STOP without it."""

    arrays: dict[str, Array]
    dilations: tuple[int, ...]
    thresholds: dict[str, float]
    possible: Mapping[str, float] = MappingProxyType({})
    asked: Mapping[str, float] = MappingProxyType({})
    sure: Mapping[str, float] = MappingProxyType({})


def load(folder: Path) -> Model:
    """The model of a folder. VoiceError in one line where it is missing or is none."""
    try:
        table = tomlfile.read(folder / MANIFEST, VoiceError, "the STOP spotter")
        table.integer("format", low=FORMAT, high=FORMAT)
        dilations = tuple(int(d) for d in table.numbers("dilations"))
        part = table.table("thresholds")
        thresholds = {language: part.number(language, low=0.01, high=0.9999) for language in LANGUAGES}
        possible, asked = (_below(thresholds, table.table(name)) for name in ("possible", "asked"))
        part = table.table("sure")
        sure = {language: part.number(language, low=asked[language], high=0.9999) for language in LANGUAGES}
        table.done()
        arrays = _arrays(folder / WEIGHTS)
        Network(arrays, dilations)
    except (VoiceError, KeyError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise VoiceError(
            f"voice.stop_spotter: {folder}: {reason}; try: git checkout {STOP_MODEL}, or "
            "--set voice.stop_spotter=false"
        ) from error
    return Model(arrays, dilations, thresholds, possible, asked, sure)


def _below(limits: dict[str, float], part: tomlfile.Table) -> dict[str, float]:
    return {language: part.number(language, low=1e-6, high=limit) for language, limit in limits.items()}


def _arrays(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found: dict[str, Array] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"expected weights in {path.name}, found {error}") from error
    return found


class Spotter:
    """Listens for STOP in one language, and tells each once. possible_s and likely_s: when one was last
    possible, and likely enough to ask a judge, at the end of that block."""

    def __init__(self, model: Model, language: str, threshold: float = 0.0, judged: bool = False) -> None:
        """threshold: of probability; 0: the model's own. judged: there is a judge."""
        self._features, self._network = Features(), Network(model.arrays, model.dilations)
        self._column = LANGUAGES.index(language)
        threshold = threshold or (model.sure if judged else model.thresholds)[language]
        self._logit = logit_of(threshold)
        possible = model.possible.get(language)
        self._possible = -math.inf if possible is None else logit_of(possible)
        self._likely = logit_of(model.asked[language]) if judged else math.inf
        self._quiet_steps = 0
        self.possible_s = self.likely_s = -math.inf

    def hear(self, block: Block) -> bool:
        """Feed a block; whether a STOP was heard in it."""
        found = False
        for logit in self.steps(block.samples):
            found |= self.fires(float(logit))
            if logit > self._possible:
                self.possible_s = block.t_s
            if logit > self._likely:
                self.likely_s = block.t_s
        return found

    def steps(self, samples: SoundArray) -> Array:
        """(N,) int16 more; how sure it is at every step that is whole by now, as logits."""
        found: Array = self._network.hear(self._features.hear(samples))[:, self._column]
        return found

    def fires(self, logit: float) -> bool:
        """Whether the next step tells a STOP: is sure enough, for the first time in a second."""
        self._quiet_steps -= 1
        if logit <= self._logit:
            return False
        fresh = self._quiet_steps <= 0
        self._quiet_steps = round(_AGAIN_S / STEP_S)
        return fresh


def logit_of(probability: float) -> float:
    """Of a probability between 0 and 1, both not included."""
    return math.log(probability / (1 - probability))
