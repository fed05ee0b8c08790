"""From words to slots: what to do, to which cube, and where to.

A command is a choice in three slots, and each slot reads the sentence for itself: an attention over the
words, one linear layer, a softmax. What a slot has learned does not depend on what the other slots say,
so a verb and a colour that were never heard together are read like any other.

Trained on text alone, in seconds; frozen afterwards. Shapes: B batch, W words, E width of a word.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

WORD_WIDTH = 64
DROPOUT = 0.2  # while it learns


class Slots(NamedTuple):
    """Probabilities: verb (B, 5), object (B, 5: none and four colours), place (B, 7: none, left, right and
    four plates)."""

    verb: Tensor
    object: Tensor
    place: Tensor


class Reader(nn.Module):
    """tokens (B, W) of word ids, 0 = padding -> logits or probabilities of the slots."""

    def __init__(self, vocabulary: int, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        width = WORD_WIDTH
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)
        self.conv1 = nn.Conv1d(width, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, padding=1)
        self.attend = nn.Linear(width, len(sizes), bias=False)
        self.slots = nn.ModuleList(nn.Linear(width, size) for size in sizes)

    def logits(self, tokens: Tensor, dropout: float = 0.0) -> list[Tensor]:
        """One (B, size) a slot. Words that are not there change nothing."""
        there = (tokens > 0).float()[:, None]  # (B, 1, W)
        x = self.words(tokens).transpose(1, 2) * there
        for conv in (self.conv1, self.conv2):
            x = x + F.gelu(conv(F.dropout(x, dropout))) * there
        x = x.transpose(1, 2)  # (B, W, E)
        weight = (self.attend(x).transpose(1, 2) - 1e4 * (1 - there)).softmax(dim=-1)  # (B, slots, W)
        pooled = F.dropout(weight @ x, dropout)
        return [layer(pooled[:, index]) for index, layer in enumerate(self.slots)]

    def forward(self, tokens: Tensor) -> Slots:
        return Slots(*(logits.softmax(dim=-1) for logits in self.logits(tokens)))
