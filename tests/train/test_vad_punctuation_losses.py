"""Losses and gradients of punctuation and VAD models, next to FunASR's classes (tools/oracle made the numbers)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from funrecipe.checkpoint import load_weights
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.models.registry import build_model
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.compute import compute_loss

DATA = Path(__file__).parents[1] / "data"
WEIGHTS = [1.0, 0.5, 2.0, 3.0, 4.0, 1.5]


def model_of(case: str, **changes: Any) -> torch.nn.Module:
    folder = open_model_folder(DATA / "parity" / case)
    model = build_model({**folder.config, **changes}, len(folder.tokens))
    load_weights(model, folder.weights)
    return model.train()


def compare(golden: Any, prefix: str, model: torch.nn.Module, output: Any, key_prefix: str = "") -> None:
    output.loss.backward()
    grads = {name.removeprefix(key_prefix): p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert output.loss.item() == pytest.approx(float(golden[f"{prefix}.loss"].item()), rel=1e-5)
    norms = [float(grads[name].norm()) for name in sorted(grads)]
    np.testing.assert_allclose(norms, golden[f"{prefix}.grad_norms"], rtol=1e-3, atol=1e-6)
    whole = [name for name in golden.files if name.startswith(f"{prefix}.grad.")]
    assert len(whole) == 2
    for name in whole:
        theirs = golden[name]
        ours = grads[name.removeprefix(f"{prefix}.grad.")].numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * abs(theirs).max())


def punctuation_batch(golden: Any, case: str, known: torch.Tensor | None = None) -> Batch:
    ids, lens, marks = (torch.from_numpy(golden[name]) for name in (f"{case}.ids", "lens", "marks"))
    past = torch.arange(ids.size(1)) >= lens[:, None]
    text, labels = ids.masked_fill(past, -1), marks.masked_fill(past, -1)
    return Batch(["a", "b", "c"], torch.zeros(3, 1, 1), torch.ones(3).long(), text, lens, labels=labels, known=known)


@pytest.mark.parametrize("variant", ["equal", "weighted"])
@pytest.mark.parametrize("case", ["punc_ct_transformer", "punc_vad_realtime", "punc_vad_realtime_known"])
def test_marks_are_trained_as_funasr_trains_them(case: str, variant: str) -> None:
    golden = np.load(DATA / "train" / "punctuation_losses.npz")
    name = case.removesuffix("_known")
    model = model_of(name)
    if variant == "weighted":
        model.model_conf["punc_weight"] = WEIGHTS
    is_known = case.endswith("_known")
    known = torch.from_numpy(golden["known"]).clamp(min=0) if is_known else torch.zeros(3).long()
    output = compute_loss("punc", model, punctuation_batch(golden, name, known), torch.Generator())
    prefix = f"{name}.{variant}{'_known' * is_known}"
    assert output.weight == golden[f"{prefix}.weight"].item()
    compare(golden, prefix, model, output)


@pytest.mark.parametrize(("variant", "silence"), [("one_class", [0]), ("three_classes", [0, 4, 7])])
def test_frames_are_trained_on_the_probabilities_that_the_detector_compares(variant: str, silence: list[int]) -> None:
    golden = np.load(DATA / "train" / "vad_losses.npz")
    model = model_of("fsmn_vad", vad_post_conf={"sil_pdf_ids": silence})
    feats = torch.from_numpy(np.load(DATA / "parity" / "fsmn_vad" / "io.npz")["in.feats"])[0]
    together = torch.nn.utils.rnn.pad_sequence([feats[:90], feats[90:]], batch_first=True)
    lens, labels = torch.from_numpy(golden["lens"]), torch.from_numpy(golden["labels"])
    labels = labels.masked_fill(torch.arange(90) >= lens[:, None], -1)
    output = compute_loss("e2evad", model, Batch(["a", "b"], together, lens, labels, lens), torch.Generator())
    assert output.stats["acc"] == pytest.approx(float(golden[f"{variant}.acc"]))
    assert output.weight == 130
    compare(golden, variant, model, output, "encoder.")


@pytest.mark.parametrize("case", ["punc_ct_transformer", "fsmn_vad"])
def test_parts_of_a_batch_add_up_to_it(case: str) -> None:
    golden, model = np.load(DATA / "train" / "punctuation_losses.npz"), model_of(case)
    if case == "fsmn_vad":
        feats = torch.from_numpy(np.load(DATA / "parity" / case / "io.npz")["in.feats"])[0, :99].reshape(3, 33, -1)
        lens = torch.tensor([33, 20, 7])
        labels = (torch.arange(33) // 5 % 2).repeat(3, 1).masked_fill(torch.arange(33) >= lens[:, None], -1)
        batch = Batch(["a", "b", "c"], feats, lens, labels, lens)
    else:
        batch = punctuation_batch(golden, case)
    family = "e2evad" if case == "fsmn_vad" else "punc"
    whole = compute_loss(family, model, batch, torch.Generator())
    parts = [compute_loss(family, model, half, torch.Generator()) for half in batch.halves()]
    assert sum(part.loss.item() for part in parts) == pytest.approx(whole.loss.item(), rel=1e-5)
    assert sum(part.weight for part in parts) == whole.weight


def test_words_of_earlier_calls_are_drawn_where_the_data_do_not_say() -> None:
    golden = np.load(DATA / "train" / "punctuation_losses.npz")
    name = "punc_vad_realtime"
    model, unsaid = model_of(name), punctuation_batch(golden, name, torch.tensor([-1, -1, -1]))
    losses = {
        compute_loss("punc", model, unsaid, torch.Generator().manual_seed(seed)).loss.item() for seed in (1, 1, 2, 3)
    }
    assert len(losses) == 3
    model.eval()
    whole = compute_loss("punc", model, punctuation_batch(golden, name, torch.zeros(3).long()), torch.Generator())
    assert compute_loss("punc", model, unsaid, torch.Generator()).loss.item() == whole.loss.item()


def test_what_cannot_be_trained_on_is_refused() -> None:
    golden = np.load(DATA / "train" / "punctuation_losses.npz")
    model, batch = model_of("punc_ct_transformer"), punctuation_batch(golden, "punc_ct_transformer")
    model.model_conf["punc_weight"] = [1.0, 2.0]
    with pytest.raises(UsageError, match="punc_weight has 2 numbers, and the model 6 marks"):
        compute_loss("punc", model, batch, torch.Generator())
    batch.labels = None
    with pytest.raises(DataError, match="needs marks"):
        compute_loss("punc", model, batch, torch.Generator())
    with pytest.raises(UsageError, match="sil_pdf_ids is \\[30\\], but the network has 30 classes"):
        model_of("fsmn_vad", vad_post_conf={"sil_pdf_ids": [30]})
