"""Output layers in which characters that sound alike share a part, for training on little Mandarin data.

A character's row is its own vector plus one vector for each of its sounds: initial, final, tone, final with tone,
syllable, syllable with tone. What is learned from one character reaches all others with the same sounds, so rare
characters, even those that never occur in training, get sensible scores; context decides among them. Checkpoints
hold the sums, a plain output layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from funrecipe.errors import UsageError

RIDGE = 3.0  # regularization: the larger, the more of the given rows stays the characters' own part
OUTPUT_LAYERS = ("output_layer", "ctc_lo", "lin_out", "ctc_lin", "lm_lin", "decoder")  # over the vocabulary


def sounds_of(token: str) -> tuple[str, ...]:
    """The sounds of a single Han character in its most frequent reading; empty for other tokens.

    Raises:
        UsageError: pypinyin is not installed.
    """
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError:
        raise UsageError("share_pronunciations needs the package pypinyin", hint="pip install pypinyin") from None
    if len(token) != 1 or not "\u4e00" <= token <= "\u9fff":
        return ()
    [syllable] = lazy_pinyin(token, style=Style.TONE3, neutral_tone_with_five=True)
    [initial] = lazy_pinyin(token, style=Style.INITIALS)
    [final] = lazy_pinyin(token, style=Style.FINALS_TONE3, neutral_tone_with_five=True)
    if not final[-1:].isdigit():  # syllables without a vowel, and characters without a reading
        return ("han", f"syllable {syllable}")
    return (
        "han", f"initial {initial}", f"final {final[:-1]}", f"tone {final[-1]}", f"final {final}",
        f"syllable {syllable[:-1]}", f"syllable {syllable}",
    )  # fmt: skip


def sound_table(tokens: Sequence[str]) -> tuple[Tensor, int]:
    """Ids of the sounds of every token (V, S), padding is 0, and the number of ids."""
    sounds = [sounds_of(token) for token in tokens]
    ids = {sound: i for i, sound in enumerate(sorted({s for row in sounds for s in row}), 1)}
    table = torch.zeros(len(tokens), max(1, *map(len, sounds)), dtype=torch.long)
    for row, names in zip(table, sounds):
        row[: len(names)] = torch.tensor([ids[name] for name in names], dtype=torch.long)
    return table, len(ids) + 1


class SharedOutput(nn.Linear):
    """``(W + sum of the rows of S that belong to a token) x + b``; at first the same function as ``base``.

    Keys: ``weight`` and ``bias`` as before, ``sounds`` (N, in) with row 0 unused.
    """

    ADDITIONS = ("sounds",)

    def __init__(self, base: nn.Linear, table: Tensor, count: int) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.register_buffer("table", table, persistent=False)
        # Ridge regression: the rows that explain ``base`` best by sounds alone; the rest is the token's own.
        member = torch.zeros(len(table), count).scatter_(1, table, 1.0)[:, 1:]
        with torch.no_grad():
            gram = member.T @ member + RIDGE * torch.eye(count - 1)
            explained = torch.linalg.solve(gram, member.T @ base.weight)
            self.sounds = nn.Parameter(F.pad(explained, (0, 0, 1, 0)))
            self.weight -= member @ explained

    def merged_weight(self) -> Tensor:
        return self.weight + F.embedding_bag(self.table, self.sounds, mode="sum", padding_idx=0)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.merged_weight(), self.bias)


def share_pronunciations(model: nn.Module, tokens: Sequence[str]) -> list[str]:
    """Replace every linear layer that scores ``tokens`` and is trained by a :class:`SharedOutput`; returns their names.

    Raises:
        UsageError: pypinyin is missing, no token is a Han character, or no layer that is trained has one output per
            token.
    """
    table, count = sound_table(tokens)
    if count == 1:
        raise UsageError("share_pronunciations: the vocabulary has no Chinese characters")
    names = [
        name
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear) and m.out_features == len(tokens) and m.weight.requires_grad
        and name.rpartition(".")[2] in OUTPUT_LAYERS  # inner layers may have as many outputs as there are tokens
    ]  # fmt: skip
    if not names:
        raise UsageError("share_pronunciations: no output layer over the vocabulary is trained")
    for name in names:
        model.set_submodule(name, SharedOutput(model.get_submodule(name), table, count))
    return names
