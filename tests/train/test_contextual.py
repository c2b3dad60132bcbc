"""Training a contextual Paraformer: losses and gradients of FunASR 0.8.8, and which hotwords are sampled."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_corpus import CONFIG, scratch

from funrecipe.checkpoint import load_weights
from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.models.registry import build_model
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.compute import compute_loss
from funrecipe.train.objectives.hotword_sampling import HotwordConf, sample_hotwords, sample_stretches
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train

DATA = Path(__file__).parents[1] / "data"
# Made by FunASR 0.8.8's NeatContextualParaformer from the weights in data/parity/contextual_paraformer. With the
# sampler all texts have one length: that class, unlike its Paraformer, samples from the padding of shorter ones too.
VARIANTS: dict[str, tuple[dict[str, Any], int, bool]] = {
    "norm_sampler": ({}, 0, True),
    "norm_nosampler": ({"sampling_ratio": 0.0}, 0, True),
    "unnorm_seed7": ({"length_normalized_loss": False}, 7, True),
    "nohotwords": ({}, 3, False),
    "decoder_embedding": ({"use_decoder_embedding": True}, 1, True),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("family", ["contextual_paraformer", "neatcontextual_paraformer"])
def test_losses_and_gradients_are_those_of_funasr(name: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conf, seed, has_words = VARIANTS[name]
    golden = np.load(DATA / "train" / "contextual_losses.npz")
    kind = "unequal" if "nosampler" in name else "equal"
    words = [[i for i in row if i >= 0] for row in golden[f"{kind}.hotwords"].tolist()] if has_words else []
    monkeypatch.setattr("funrecipe.train.objectives.paraformer.sample_hotwords", lambda *_: words)
    folder = open_model_folder(DATA / "parity" / "contextual_paraformer")
    model_conf = {**folder.config["model_conf"], **conf}
    model = build_model({**folder.config, "model_conf": model_conf}, len(folder.tokens)).eval()
    load_weights(model, folder.weights)
    model.model_conf = model_conf
    feats, text, text_lens = (torch.from_numpy(golden[n]) for n in ("feats", f"{kind}.text", f"{kind}.text_lens"))
    batch = Batch(["a", "b", "c"], feats.float(), torch.tensor([feats.size(1)] * 3), text, text_lens)
    generator = torch.Generator().manual_seed(seed)
    blocks = (model.encoder.encoders0, model.encoder.encoders, model.decoder.decoders, model.decoder.decoders3)
    torch.empty(sum(map(len, blocks))).uniform_(generator=generator)  # FunASR's layer drop draws before the sampler
    output = compute_loss(family, model, batch, generator)
    output.loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    seen = {**output.stats, "weight": output.weight}
    seen["grad_norm"] = float(torch.stack([g.norm() for g in gradients.values()]).norm())
    for value in ("loss", "loss_att", "loss_pre", "acc", "weight", "grad_norm"):
        assert seen[value] == pytest.approx(float(golden[f"{name}.{value}"]), rel=1e-4), value
    keys = [key for key in golden.files if key.startswith(f"{name}.grad.")]
    assert len(keys) >= 3
    for key in keys:
        theirs = torch.from_numpy(golden[key])
        assert torch.allclose(gradients[key.split("grad.")[1]], theirs, atol=1e-4 * float(theirs.abs().max())), key


def test_hot_words_are_stretches_of_the_batchs_own_texts() -> None:
    conf, generator = HotwordConf(), torch.Generator().manual_seed(0)
    chooser = random.Random(0)
    lens = torch.tensor([chooser.randint(1, 30) for _ in range(400)])
    text = torch.full((400, 30), -1)
    for row, length in enumerate(lens.tolist()):
        text[row, :length] = torch.arange(length) + 1000 * row
    batch = Batch([str(i) for i in range(400)], torch.zeros(400, 1, 1), lens, text, lens)
    words = sample_hotwords(batch, conf, generator)
    rows = [word[0] // 1000 for word in words]
    assert rows == sorted(rows)
    assert all(word == list(range(word[0], word[0] + len(word))) and 2 <= len(word) <= 8 for word in words)
    long_enough = int((lens >= 2).sum())
    assert len(set(rows)) == pytest.approx(0.6 * long_enough, rel=0.15)
    twice = len(rows) - len(set(rows))
    assert twice == pytest.approx(0.06 * int((lens > 12).sum()), abs=12) and twice > 3


@pytest.mark.parametrize(("length", "wanted"), [(1, []), (2, [(0, 2)])])
def test_texts_shorter_than_a_hot_word_give_none(length: int, wanted: list[tuple[int, int]]) -> None:
    assert sample_stretches(length, HotwordConf(sample_rate=1.0), torch.Generator()) == wanted


@pytest.mark.parametrize("length", range(3, 40))
def test_two_hot_words_do_not_overlap(length: int) -> None:
    for seed in range(20):
        found = sample_stretches(
            length, HotwordConf(sample_rate=1.0, double_rate=1.0), torch.Generator().manual_seed(seed)
        )
        assert len(found) == (2 if length > 12 else 1)
        assert all(0 <= start < end <= length and 2 <= end - start <= 8 for start, end in found)
        assert found == sorted(found) and (len(found) == 1 or found[0][1] <= found[1][0])


def test_impossible_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="min_hw_length is 5, not from 1 to max_hw_length \\(4\\)"):
        HotwordConf(min_hw_length=5, max_hw_length=4)


def test_a_contextual_model_is_trained_and_its_hot_word_encoder_moves(corpus: Path, tmp_path: Path) -> None:
    conf = {**CONFIG, "model": "contextual_paraformer", "decoder": "contextual_paraformer_decoder"}
    conf["model_conf"] = {**CONFIG["model_conf"], "inner_dim": 32}
    conf["decoder_conf"] = {**CONFIG["decoder_conf"], "num_blocks": 2, "att_layer_num": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(conf, allow_unicode=True), "utf-8")
    flags = scratch(corpus, tmp_path / "out", max_epoch=4) | {"config": str(tmp_path / "config.yaml")}
    train(flags)
    records = read_json_lines(tmp_path / "out" / "metrics.jsonl")
    assert records[-1]["train.loss"] < records[0]["train.loss"]
    assert "valid.cer_decode" in records[-1]
    first, last = (torch.load(tmp_path / "out" / f"{n}epoch.pb", weights_only=True) for n in (3, 4))
    assert not torch.equal(first["bias_encoder.weight_ih_l0"], last["bias_encoder.weight_ih_l0"])
