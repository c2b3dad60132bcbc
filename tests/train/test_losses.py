"""Loss values from the contract (computed by FunASR's classes) and from the definitions."""

from __future__ import annotations

import math

import pytest
import torch

from funrecipe.train.objectives.losses import ctc_loss, label_smoothing_loss, token_accuracy
from funrecipe.train.objectives.paraformer import append_eos, mix_in_targets

LOGITS = torch.tensor([[[2.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 0]]])
TARGETS = torch.tensor([[0, 2, -1]])


def test_label_smoothing_gives_funasr_values() -> None:
    assert label_smoothing_loss(LOGITS, TARGETS, 0.1, 2).item() == pytest.approx(0.6906, abs=1e-4)
    assert label_smoothing_loss(LOGITS, TARGETS, 0.1, 1).item() == pytest.approx(1.3812, abs=1e-4)


def test_without_smoothing_it_is_cross_entropy() -> None:
    expected = torch.nn.functional.cross_entropy(LOGITS[0, :2], TARGETS[0, :2], reduction="sum")
    assert label_smoothing_loss(LOGITS, TARGETS, 0.0, 1).item() == pytest.approx(expected.item(), rel=1e-6)


def test_accuracy_counts_wanted_positions_only() -> None:
    assert token_accuracy(LOGITS, TARGETS) == 0.5
    assert token_accuracy(LOGITS, torch.full((1, 3), -1)) == 0.0


def test_ctc_of_two_frames_by_hand() -> None:
    # Uniform over 3 symbols, 2 frames, target "1": paths 1b, b1, 11 of 9.
    loss = ctc_loss(torch.zeros(1, 2, 3), torch.tensor([2]), torch.tensor([[1]]), torch.tensor([1]), 1)
    assert loss.item() == pytest.approx(math.log(3.0), rel=1e-6)


def test_ctc_of_a_text_that_does_not_fit_is_zero() -> None:
    logits = torch.zeros(1, 1, 3, requires_grad=True)
    loss = ctc_loss(logits, torch.tensor([1]), torch.tensor([[1, 2]]), torch.tensor([2]), 1)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(logits.grad).all()


def test_eos_stands_behind_each_target() -> None:
    text, lens = append_eos(torch.tensor([[5, 6, 7], [8, -1, -1]]), torch.tensor([3, 1]), 1)
    assert text.tolist() == [[5, 6, 7, 2], [8, 2, -1, -1]]
    assert lens.tolist() == [4, 2]


def test_the_sampler_replaces_as_many_positions_as_it_was_wrong_about() -> None:
    embeds, targets = torch.zeros(2, 6, 1), torch.ones(2, 6, 1)
    mixed = mix_in_targets(
        embeds, targets, torch.tensor([4, 0]), torch.tensor([6, 5]), 0.75, torch.Generator().manual_seed(1)
    )
    assert mixed[0].sum() == 3  # int(4 * 0.75)
    assert mixed[1].sum() == 0
    expected = set(torch.randperm(6, generator=torch.Generator().manual_seed(1))[:3].tolist())
    assert set(mixed[0, :, 0].nonzero().flatten().tolist()) == expected
