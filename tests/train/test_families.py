"""Every family that has an objective goes through the whole loop: updates, validation, decoding, checkpoints."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from tiny_corpus import CONFIG, scratch

from funrecipe import families
from funrecipe.decode.hypothesis import TokenHypothesis
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.train import measures
from funrecipe.train.objectives.compute import compute_loss
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train

SMALL = {"attention_heads": 2, "linear_units": 32, "num_blocks": 1, "dropout_rate": 0.1}
CHUNKS = {"chunk_size": [6, 12], "stride": [4, 8], "pad_left": [1, 2], "encoder_att_look_back_factor": [1, 1],
          "decoder_att_look_back_factor": [1, 1]}  # fmt: skip
SANM_CHUNK = {"output_size": 16, **SMALL, "kernel_size": 5, "sanm_shfit": 0, **CHUNKS}
SCAMA = {"attention_dim": 16, **SMALL, "att_layer_num": 1, "kernel_size": 5, "concat_embeds": True}
CIF = {"idim": 16, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45}
FAMILIES: dict[str, dict[str, Any]] = {
    "bicif_paraformer": {
        "predictor": "cif_predictor_v3",
        "predictor_conf": {**CIF, "idim": 32, "upsample_times": 3, "upsample_type": "cnn_blstm", "use_cif1_cnn": False},
    },
    "seaco_paraformer": {
        "predictor": "cif_predictor_v3",
        "predictor_conf": {**CIF, "idim": 32, "upsample_times": 3, "upsample_type": "cnn_blstm", "use_cif1_cnn": False},
        "seaco_decoder": "paraformer_decoder_sanm",
        "seaco_decoder_conf": {**SMALL, "att_layer_num": 1, "kernel_size": 5, "use_output_layer": False},
        "model_conf": {"ctc_weight": 0.0, "length_normalized_loss": True, "predictor_bias": 1, "sampling_ratio": 0.3,
                       "inner_dim": 32, "train_decoder": True, "seaco_weight": 1.0, "NO_BIAS": 9},
    },
    "paraformer_online": {
        "encoder": "sanm_chunk_opt", "encoder_conf": SANM_CHUNK, "predictor_conf": CIF,
        "decoder_conf": {**SMALL, "att_layer_num": 1, "kernel_size": 5, "sanm_shfit": 2},
    },
    "uniasr": {
        "encoder": "sanm_chunk_opt", "encoder_conf": SANM_CHUNK,
        "encoder2": "sanm_chunk_opt", "encoder2_conf": SANM_CHUNK,
        "decoder": "fsmn_scama_opt", "decoder_conf": SCAMA, "decoder2": "fsmn_scama_opt", "decoder2_conf": SCAMA,
        "predictor_conf": {**CIF, "tail_threshold": 0.0}, "predictor2": "cif_predictor_v2",
        "predictor2_conf": {**CIF, "tail_threshold": 0.0}, "stride_conv": "stride_conv1d",
        "stride_conv_conf": {"kernel_size": 2, "stride": 2, "pad": [0, 1]},
        "model_conf": {"predictor_weight": 1.0, "predictor_weight2": 1.0, "length_normalized_loss": True,
                       "decoder_attention_chunk_type": "chunk", "decoder_attention_chunk_type2": "chunk"},
    },
    "asr": {
        "encoder": "conformer",
        "encoder_conf": {"output_size": 16, **SMALL, "input_layer": "conv2d", "cnn_module_kernel": 5},
        "decoder": "transformer", "decoder_conf": SMALL, "predictor": None, "predictor_conf": {},
        "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1},
    },
    "rnnt_unified": {
        "encoder": "chunk_conformer", "decoder": None, "decoder_conf": {}, "predictor": None, "predictor_conf": {},
        "encoder_conf": {"output_size": 16, **SMALL, "cnn_module_kernel": 5, "unified_model_training": True,
                         "default_chunk_size": 4, "jitter_range": 2, "subsampling_factor": 4},
        "rnnt_decoder": "rnnt", "rnnt_decoder_conf": {"embed_size": 8, "hidden_size": 16, "num_layers": 1},
        "joint_network": "joint_network", "joint_network_conf": {"joint_space_size": 16},
        "model_conf": {"auxiliary_ctc_weight": 0.0},
    },
}  # fmt: skip


def training(family: str, corpus: Path, tmp_path: Path) -> dict[str, Any]:
    """Flags of a short run of ``family`` in ``tmp_path``."""
    config = {**CONFIG, "model": family, **FAMILIES[family]}
    if family in ("asr", "rnnt_unified"):  # these subsample on their own
        config["frontend_conf"] = {**CONFIG["frontend_conf"], "lfr_m": 1, "lfr_n": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    flags = scratch(corpus, tmp_path / "out", max_epoch=2, batch_bins=2000, batch_unit="ms")
    return {**flags, "config": str(tmp_path / "config.yaml")}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_trains_validates_and_decodes(family: str, corpus: Path, tmp_path: Path) -> None:
    train(training(family, corpus, tmp_path))
    losses = [record["loss"] for record in read_json_lines(tmp_path / "out" / "steps.jsonl")]
    assert len(losses) > 8
    assert sum(losses[-3:]) < sum(losses[:3])
    values = read_json_lines(tmp_path / "out" / "metrics.jsonl")[-1]
    assert values["valid.cer_decode"] >= 0.0
    assert values["valid.loss"] == values["valid.loss"]
    assert (tmp_path / "out" / f"valid.{'loss' if family == 'rnnt_unified' else 'acc'}.ave.pb").is_file()


def test_a_transducer_trains_in_bf16_on_any_cpu(corpus: Path, tmp_path: Path) -> None:
    train({**training("rnnt_unified", corpus, tmp_path), "precision": "bf16", "max_steps": 2, "valid_decode": True})
    assert all(isfinite(record["loss"]) for record in read_json_lines(tmp_path / "out" / "steps.jsonl"))


def test_an_utterance_whose_search_finds_no_end_counts_as_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transducer that has just begun may find no blank; that is no reason to end its training."""

    class OneWithoutEnd:
        def decode(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> list[list[TokenHypothesis]]:
            assert feats.size(1) == max(feat_lens)
            if 3 in feat_lens:
                raise DataError("the search finds no end")
            return [[TokenHypothesis([int(length)], 0.0)] for length in feat_lens]

    monkeypatch.setattr(measures, "make_search", lambda *_: OneWithoutEnd())
    transcribe = measures.transcriber(open_model_folder(Path(__file__).parents[1] / "data/parity/rnnt"))
    batch = SimpleNamespace(feats=torch.zeros(3, 4, 2), feat_lens=torch.tensor([4, 3, 2]))
    assert transcribe is not None and transcribe(torch.nn.Identity(), batch) == [[4], [], [2]]  # type: ignore[arg-type]


def test_what_cannot_be_trained_says_what_can() -> None:
    with pytest.raises(UsageError, match="paraformer"):
        compute_loss("paraformr", torch.nn.Module(), None, torch.Generator())  # type: ignore[arg-type]
    assert set(FAMILIES) < set(families.names_with("objective"))
