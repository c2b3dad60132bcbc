"""Weights before training: parts of checkpoints, longer vocabularies, frozen prefixes, low-rank additions."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from test_preflight import data  # noqa: F401  (a fixture)
from tiny_corpus import CONFIG, scratch
from torch import nn

from funrecipe.errors import DataError, UsageError
from funrecipe.models.registry import build_model
from funrecipe.train.adapt.initialize import extend_state, extend_tokens, freeze, load_init_param
from funrecipe.train.adapt.lora import inject, merged_state
from funrecipe.train.objectives.phone_ctc import PhoneTable
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train


def model(tokens: int = 10) -> nn.Module:
    return build_model(CONFIG, tokens)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    return torch.randn(2, 12, 160), torch.tensor([12, 9])


def test_init_param_renames_prefixes_and_leaves_out_exclusions(tmp_path: Path) -> None:
    source, target = model(), model()
    torch.save({f"asr.{name}": value for name, value in source.state_dict().items()}, tmp_path / "x.pb")
    names = load_init_param(target, f"{tmp_path}/x.pb:asr.encoder:encoder:asr.encoder.encoders0", ignore_mismatch=False)
    assert "encoder.after_norm.weight" in names
    assert not any(name.startswith(("encoder.encoders0", "decoder")) for name in names)
    key = "encoder.encoders.0.self_attn.linear_out.weight"
    assert torch.equal(target.state_dict()[key], source.state_dict()[key])


def test_init_param_stops_at_other_shapes_unless_told(tmp_path: Path) -> None:
    torch.save(model(12).state_dict(), tmp_path / "x.pb")
    with pytest.raises(DataError, match="another shape"):
        load_init_param(model(10), f"{tmp_path}/x.pb", ignore_mismatch=False)
    assert "encoder.after_norm.weight" in load_init_param(model(10), f"{tmp_path}/x.pb", ignore_mismatch=True)


def test_init_param_that_fits_nowhere_is_refused(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "x.pb")
    with pytest.raises(UsageError, match="fits"):
        load_init_param(model(), f"{tmp_path}/x.pb:nothing", ignore_mismatch=False)
    with pytest.raises(DataError, match="no such file"):
        load_init_param(model(), f"{tmp_path}/y.pb", ignore_mismatch=False)


def test_a_longer_vocabulary_keeps_every_old_prediction() -> None:
    old_tokens = CONFIG["token_list"]
    new_tokens = extend_tokens(old_tokens, ["龙", "虎", "一"])
    assert len(new_tokens) == 12 and new_tokens[-1] == "<unk>" and new_tokens[:9] == old_tokens[:9]
    small, large = model(10).eval(), model(12).eval()
    large.load_state_dict(extend_state(small.state_dict(), old_tokens, new_tokens, large.state_dict()))
    rows = [new_tokens.index(token) for token in old_tokens]
    encoder_out, lens = small.encode(*inputs())
    first, second = small.ctc.ctc_lo(encoder_out), large.ctc.ctc_lo(large.encode(*inputs())[0])
    assert torch.allclose(first, second[..., rows], atol=1e-6)
    new_bias = second[..., [i for i in range(12) if i not in rows]]
    assert new_bias.shape[-1] == 2


def test_extended_vocabulary_is_trained_and_written(data: Path) -> None:  # noqa: F811
    text = data / "train" / "text"
    text.write_text(text.read_text("utf-8").replace("utt000 ", "utt000 龙"), "utf-8")
    train(scratch(data, data.parent / "out", extend_vocab=True, max_steps=2))
    tokens = (data.parent / "out" / "tokens.txt").read_text("utf-8").split()
    assert tokens[-2:] == ["龙", "<unk>"]
    assert torch.load(data.parent / "out" / "1epoch.pb", weights_only=True)["ctc.ctc_lo.bias"].shape == (11,)


@pytest.mark.parametrize("kind", ["sound,text", "tar"])
def test_streamed_data_are_read_once_for_new_characters_and_phones(
    data: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """The new character and a phone of its own occur behind what the pre-flight looks at."""
    monkeypatch.setattr("funrecipe.train.data.preflight.FIRST_LOOK", 2)
    train_dir, out = data / "train", data.parent / "out"
    text = train_dir / "text"
    text.write_text(text.read_text("utf-8").replace("utt015 ", "utt015 龙"), "utf-8")
    (train_dir / "data.list").write_text("wav.scp text\n" if kind != "tar" else "shard.tar\n")
    with tarfile.open(train_dir / "shard.tar", "w") as tar:
        for key, sentence in (line.split() for line in text.read_text("utf-8").splitlines()):
            (data / f"{key}.txt").write_text(sentence, "utf-8")
            tar.add(data / f"{key}.txt", f"{key}.txt")
            tar.add(train_dir / "wav" / f"{key}.wav", f"{key}.wav")
    settings = {"dataset_type": "large", "batch_bins": 3000, "extend_vocab": True, "phone_ctc_weight": 0.3}
    train(scratch(data, out, **settings, max_epoch=1, dataset_conf={"data_types": kind}))
    tokens = (out / "tokens.txt").read_text("utf-8").split()
    assert tokens[-2:] == ["龙", "<unk>"]
    assert torch.load(out / "1epoch.pb", weights_only=True)["ctc.ctc_lo.bias"].shape == (11,)
    assert all(record["loss_phone"] > 0 for record in read_json_lines(out / "steps.jsonl"))
    head = torch.load(out / "checkpoint.pb", weights_only=True)["model"]["phone_ctc.output.weight"]
    sentences = [list(line.split()[1]) for line in text.read_text("utf-8").splitlines()]
    assert len(head) == PhoneTable(sentences).size > PhoneTable(sentences[:-1]).size


def test_frozen_parameters_stay_and_others_move(corpus: Path, tmp_path: Path) -> None:
    train(scratch(corpus, tmp_path, freeze_param=["encoder", "ctc"], max_epoch=2, scheduler="none"))
    first, last = (torch.load(tmp_path / f"{n}epoch.pb", weights_only=True) for n in (1, 2))
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    assert moved
    assert not any(name.startswith(("encoder.", "ctc.")) for name in moved)


def test_freezing_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="encodr"):
        freeze(model(), ["encodr"])


def test_lora_changes_nothing_at_first_trains_only_itself_and_merges() -> None:
    plain = model().eval()
    before = plain.encode(*inputs())[0]
    names = inject(plain, ["linear_q_k_v", "linear_out"], rank=2, alpha=4.0)
    assert torch.allclose(plain.encode(*inputs())[0], before, atol=1e-6)
    trainable = [name for name, p in plain.named_parameters() if p.requires_grad]
    assert len(trainable) == 2 * len(names)
    assert all(".lora_" in name for name in trainable)
    with torch.no_grad():
        for name in trainable:
            plain.get_parameter(name).normal_()
    adapted = plain.encode(*inputs())[0]
    merged = model().eval()
    merged.load_state_dict(merged_state(plain))
    assert not torch.allclose(adapted, before, atol=1e-2)
    assert torch.allclose(merged.encode(*inputs())[0], adapted, atol=1e-3)


def test_lora_on_unknown_layers_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="linear_q_k_v"):
        inject(model(), ["q_proj"], rank=2, alpha=4.0)


def test_a_lora_run_writes_plain_weights(corpus: Path, tmp_path: Path) -> None:
    flags: dict[str, Any] = scratch(corpus, tmp_path, lora_rank=2, max_epoch=1)
    train(flags)
    assert set(torch.load(tmp_path / "1epoch.pb", weights_only=True)) == set(model().state_dict())
