"""The auxiliary phone CTC: its phones, its place, and that it leaves no trace in checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_corpus import CONFIG, scratch

from funrecipe.errors import UsageError
from funrecipe.models.registry import build_model
from funrecipe.train.data.batching import Example, collate
from funrecipe.train.objectives.phone_ctc import PhoneCtc, PhoneTable, phones_of_characters
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train


def test_initials_and_toned_finals_in_context() -> None:
    assert phones_of_characters("银行") == ["in2", "h", "ang2"]
    assert phones_of_characters("行人") == ["x", "ing2", "r", "en2"]
    assert phones_of_characters(["a", "中"]) == ["a", "zh", "ong1"]


def test_unseen_phones_get_the_last_id() -> None:
    table = PhoneTable(["中国"])
    assert table.encode("中") == (table.ids["zh"], table.ids["ong1"])
    assert table.encode("虎") == (table.size - 1, table.size - 1)


def test_it_reads_the_block_it_is_put_on() -> None:
    model = build_model(CONFIG, 10)
    head = PhoneCtc(model.encoder, 7, layer=1)
    batch = collate([Example("a", torch.randn(12, 160), [3], [1, 2, 3])])
    _, lens = model.encode(batch.feats, batch.feat_lens)
    head.loss(batch, lens).backward()
    touched = {name for name, p in model.encoder.named_parameters() if p.grad is not None}
    assert any(name.startswith("encoders0.0") for name in touched)
    assert not any(name.startswith("encoders.0") for name in touched)
    with pytest.raises(UsageError, match="2 blocks"):
        PhoneCtc(model.encoder, 7, layer=3)


def test_checkpoints_hold_the_plain_model(corpus: Path, tmp_path: Path) -> None:
    train(scratch(corpus, tmp_path, max_epoch=1, phone_ctc_weight=0.5))
    assert set(torch.load(tmp_path / "1epoch.pb", weights_only=True)) == set(build_model(CONFIG, 10).state_dict())
    assert all(record["loss_phone"] > 0 for record in read_json_lines(tmp_path / "steps.jsonl"))
