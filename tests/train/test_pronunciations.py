"""Output layers with shared sounds: nothing changes at first, then characters that sound alike move together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_corpus import CONFIG, scratch
from torch import nn

from funrecipe.errors import UsageError
from funrecipe.models.registry import build_model
from funrecipe.train.adapt.pronunciations import SharedOutput, share_pronunciations, sound_table, sounds_of
from funrecipe.train.run import train

TOKENS = ["<blank>", "<s>", "</s>", "a", "是", "事", "十", "妈", "中", "<unk>"]


def test_the_sounds_of_characters() -> None:
    assert sounds_of("中") == (
        "han", "initial zh", "final ong", "tone 1", "final ong1", "syllable zhong", "syllable zhong1",
    )  # fmt: skip
    assert sounds_of("a") == sounds_of("<unk>") == ()
    assert set(sounds_of("是")) == set(sounds_of("事"))
    assert "syllable shi" in sounds_of("十") and "tone 2" in sounds_of("十")


def test_the_function_is_the_same_at_first() -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, len(TOKENS))
    x = torch.randn(3, 5)
    expected = base(x)
    layer = SharedOutput(base, *sound_table(TOKENS))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.sounds[0], torch.zeros(5))


def test_a_step_for_one_character_reaches_those_with_its_sounds() -> None:
    torch.manual_seed(0)
    layer = SharedOutput(nn.Linear(5, len(TOKENS)), *sound_table(TOKENS))
    before = layer.merged_weight().detach().clone()
    (-layer(torch.ones(1, 5))[0, TOKENS.index("是")]).backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    moved = dict(zip(TOKENS, (layer.merged_weight() - before).detach().sum(1).tolist()))
    assert moved["是"] > moved["事"] > moved["十"] > moved["妈"] > 0
    assert moved["a"] == moved["<unk>"] == moved["<blank>"] == 0


def test_every_layer_over_the_vocabulary_and_no_other_is_replaced() -> None:
    as_long_as_wide = [*TOKENS, *(chr(0x4E00 + i) for i in range(CONFIG["encoder_conf"]["output_size"] - len(TOKENS)))]
    for tokens in (TOKENS, as_long_as_wide):
        assert share_pronunciations(build_model(CONFIG, len(tokens)), tokens) == ["decoder.output_layer", "ctc.ctc_lo"]


def test_a_vocabulary_without_characters_is_refused() -> None:
    with pytest.raises(UsageError, match="no Chinese characters"):
        share_pronunciations(build_model(CONFIG, 10), [f"t{i}" for i in range(10)])


def test_checkpoints_hold_the_plain_model_and_training_goes_on_from_them(corpus: Path, tmp_path: Path) -> None:
    train(scratch(corpus, tmp_path, max_epoch=1, share_pronunciations=True))
    first = torch.load(tmp_path / "1epoch.pb", weights_only=True)
    assert set(first) == set(build_model(CONFIG, 10).state_dict())
    train(scratch(corpus, tmp_path, max_epoch=2, share_pronunciations=True))
    assert (tmp_path / "2epoch.pb").is_file()


@pytest.mark.parametrize("frozen", ["decoder.output_layer", "decoder.output_layer.weight"])
def test_frozen_layers_stay_as_they_are(frozen: str, corpus: Path, tmp_path: Path) -> None:
    train(scratch(corpus, tmp_path / "base", max_epoch=1, max_steps=1))
    flags = scratch(corpus, tmp_path / "run", max_epoch=1, share_pronunciations=True, freeze_param=[frozen])
    del flags["config"], flags["cmvn_file"]
    train({**flags, "model": str(tmp_path / "base")})
    before, after = (torch.load(tmp_path / x / "1epoch.pb", weights_only=True) for x in ("base", "run"))
    assert torch.equal(before["decoder.output_layer.weight"], after["decoder.output_layer.weight"])
    assert not torch.equal(before["ctc.ctc_lo.weight"], after["ctc.ctc_lo.weight"])


def test_nothing_to_share_is_refused() -> None:
    model = build_model(CONFIG, len(TOKENS)).requires_grad_(False)
    with pytest.raises(UsageError, match="trained"):
        share_pronunciations(model, TOKENS)


def test_it_does_not_go_with_lora(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lora_rank"):
        train(scratch(corpus, tmp_path, share_pronunciations=True, lora_rank=2))
