"""Fine-tuning from a pre-trained data2vec encoder: what came from it, what is new, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_corpus import CONFIG, SHORT_RUN, scratch

from funrecipe.errors import DataError, UsageError
from funrecipe.hub.resolve import resolve_model
from funrecipe.model_folder import open_model_folder
from funrecipe.models.data2vec import Data2VecEncoder
from funrecipe.models.registry import build_model
from funrecipe.train.run import train

ENCODER_CONF = {"conv_feature_layers": "[(16,2,1)]", "encoder_layers": 2, "encoder_embed_dim": 16,
                "encoder_ffn_embed_dim": 32, "encoder_attention_heads": 2, "conv_pos": 10, "conv_pos_groups": 2,
                "pos_conv_depth": 2, "mask_prob": 0.65}  # fmt: skip
FROM_PRETRAINED = ("encoder", "encoder_conf", "frontend", "frontend_conf")
TARGET: dict[str, Any] = {
    **{key: value for key, value in CONFIG.items() if key not in FROM_PRETRAINED},
    "decoder": "paraformer_decoder_san",
    "decoder_conf": {"attention_heads": 2, "linear_units": 32, "num_blocks": 1},
    "predictor": "cif_predictor",
    "predictor_conf": {"idim": 16, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45},
}  # fmt: skip


@pytest.fixture
def pretrained(corpus: Path, tmp_path: Path) -> Path:
    """A folder as FunASR's pre-training leaves it, and ``target.yaml`` beside it."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    frontend = {key: CONFIG[key] for key in ("frontend", "frontend_conf")}
    config = {"model": "data2vec", "encoder": "data2vec_encoder", "encoder_conf": ENCODER_CONF, **frontend}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "am.mvn").write_text((corpus / "am.mvn").read_text())
    torch.manual_seed(1)
    conf = {key: value for key, value in ENCODER_CONF.items() if key != "mask_prob"}
    state = Data2VecEncoder(160, **conf).state_dict()
    torch.save(
        {f"encoder.{name}": value for name, value in state.items()} | {"ema.x": torch.ones(1)}, folder / "model.pb"
    )
    (tmp_path / "target.yaml").write_text(yaml.safe_dump(TARGET, allow_unicode=True), "utf-8")
    return folder


def flags(corpus: Path, pretrained: Path, **settings: Any) -> dict[str, Any]:
    place = pretrained.parent
    own = {"config": str(place / "target.yaml"), "pretrained": str(pretrained), "max_steps": 2}
    run = {**scratch(corpus, place / "out"), **SHORT_RUN, **own, **settings}
    return {name: value for name, value in run.items() if name != "cmvn_file" and value != ""}


def test_the_encoder_comes_from_it_and_the_log_says_what_is_new(corpus: Path, pretrained: Path) -> None:
    train(flags(corpus, pretrained, freeze_param=["encoder"]))
    out = pretrained.parent / "out"
    log = (out / "train.log.0").read_text("utf-8")
    theirs = torch.load(pretrained / "model.pb", weights_only=True)
    assert f"{len(theirs) - 1} tensors of the encoder came from it" in log
    assert "new, with random weights: predictor (4 tensors), decoder (" in log
    assert "not used: ema" in log
    tuned = open_model_folder(out)
    assert (tuned.family, tuned.config["encoder"]) == ("paraformer", "data2vec_encoder")
    assert tuned.cmvn is not None
    ours = torch.load(out / "1epoch.pb", weights_only=True)
    for name in theirs.keys() - {"ema.x"}:  # frozen, so the checkpoint has it as it was
        assert torch.equal(ours[name], theirs[name]), name
    assert build_model(tuned.config, len(tuned.tokens)).encoder.output_size == 16


def test_an_encoder_that_does_not_fit_names_its_tensors(corpus: Path, pretrained: Path) -> None:
    target = {**TARGET, "encoder": "data2vec_encoder", "encoder_conf": {**ENCODER_CONF, "encoder_layers": 3}}
    (pretrained.parent / "target.yaml").write_text(yaml.safe_dump(target, allow_unicode=True), "utf-8")
    with pytest.raises(DataError, match=r"does not fit the model(.|\n)*encoder\.encoder\.layers\.2"):
        train(flags(corpus, pretrained))


START = ("pretrained", "token_list", "cmvn_file")


@pytest.mark.parametrize("name", START)
def test_parts_of_a_new_model_are_refused_beside_a_model(name: str, corpus: Path, pretrained: Path) -> None:
    own = {key: value for key, value in flags(corpus, pretrained, config="").items() if key not in START}
    with pytest.raises(UsageError, match=f"{name} has no effect with --model"):
        train({**own, "model": str(pretrained), name: "no such file"})


def test_it_cannot_recognize(pretrained: Path) -> None:
    with pytest.raises(UsageError, match="it does not recognize by itself"):
        build_model(open_model_folder(pretrained).config, 9)


def test_the_zoo_says_how_to_use_a_pretrained_encoder() -> None:
    with pytest.raises(UsageError, match="fine-tune it: egs/asr/finetune.sh"):
        resolve_model("damo/speech_data2vec_pretrain-zh-cn-aishell2-16k-pytorch")
    with pytest.raises(DataError, match="is not on disk"):
        resolve_model("damo/speech_data2vec_pretrain-zh-cn-aishell2-16k-pytorch", pretrained=True)
