"""Models of Paraformer-large's size with random weights that FunASR and funrecipe both read, and real speech."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tools.bench.sides import ROOT

VOCAB_SIZE = 8404
ALPHA = 0.27  # mean weight of a 60 ms frame: about 4.5 tokens a second
GFLOP_PER_S = 6.18  # of a second of audio with that many tokens: encoder 5.42, decoder 0.73, predictor 0.03
SAMPLE_RATE_HZ = 16000
FRONTEND = {"fs": SAMPLE_RATE_HZ, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10, "lfr_m": 7,
            "lfr_n": 6, "dither": 0.0}  # fmt: skip
ENCODER = {"output_size": 512, "attention_heads": 4, "linear_units": 2048, "num_blocks": 50, "kernel_size": 11,
           "sanm_shfit": 0, "selfattention_layer_type": "sanm"}  # fmt: skip
DECODER = {"attention_heads": 4, "linear_units": 2048, "num_blocks": 16, "att_layer_num": 16, "kernel_size": 11}
PREDICTOR = {"idim": 512, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45}
SHARED = {
    "model_conf": {"ctc_weight": 0.0, "lsm_weight": 0.1, "length_normalized_loss": True, "predictor_bias": 1},
    "decoder": "ParaformerSANMDecoder",
    "predictor": "CifPredictorV2",
    "frontend_conf": FRONTEND,
    "tokenizer": "CharTokenizer",
    "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
}
OFFLINE = SHARED | {
    "model": "Paraformer",
    "encoder": "SANMEncoder",
    "encoder_conf": ENCODER | {"input_layer": "pe"},
    "decoder_conf": DECODER | {"sanm_shfit": 0},
    "predictor_conf": PREDICTOR,
    "frontend": "WavFrontend",
}
STREAMING = SHARED | {
    "model": "ParaformerStreaming",
    "encoder": "SANMEncoderChunkOpt",
    "encoder_conf": ENCODER
    | {"input_layer": "pe_online", "chunk_size": [12, 15], "stride": [8, 10], "pad_left": [0, 0],
       "encoder_att_look_back_factor": [4, 4], "decoder_att_look_back_factor": [1, 1]},
    "decoder_conf": DECODER | {"sanm_shfit": 5},
    "predictor_conf": PREDICTOR | {"tail_mask": False},
    "frontend": "WavFrontendOnline",
}  # fmt: skip


def make_folder(folder: Path, config: dict[str, Any]) -> None:
    """A model folder with random weights in FunASR 1.x's layout, the same ones each time."""
    import torch
    import yaml

    from funrecipe.model_folder.funasr_1x import to_0x
    from funrecipe.models.registry import build_model

    tokens = ["<blank>", "<s>", "</s>", *(chr(0x4E00 + i) for i in range(VOCAB_SIZE - 4)), "<unk>"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (folder / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    size = FRONTEND["n_mels"] * FRONTEND["lfr_m"]
    shift, scale = " ".join(["-8.0"] * size), " ".join(["0.25"] * size)
    (folder / "am.mvn").write_text(
        f"<Nnet>\n<Splice> {size} {size}\n[ 0 ]\n<AddShift> {size} {size}\n<LearnRateCoef> 0 [ {shift} ]\n"
        f"<Rescale> {size} {size}\n<LearnRateCoef> 0 [ {scale} ]\n</Nnet>\n"
    )
    torch.manual_seed(1234)
    model = build_model(to_0x(config), VOCAB_SIZE)
    with torch.no_grad():
        model.predictor.cif_output.weight.mul_(0.3)
        model.predictor.cif_output.bias.fill_(math.log(ALPHA / (1 - ALPHA)))
    torch.save(model.state_dict(), folder / "model.pt")


def export(folder: Path, target: Path) -> None:
    """``folder`` as ONNX, in fp32 and in int8, without decoding anything with it."""
    from funrecipe.export.description import metadata, write_description
    from funrecipe.export.folder import export_network
    from funrecipe.export.graph import quantize, write_graph
    from funrecipe.model_folder import open_model_folder
    from funrecipe.models.registry import input_size

    opened = open_model_folder(folder)
    target.mkdir()
    for name, graph in export_network(opened).graphs(input_size(opened.config)).items():
        write_graph(graph, target / name, metadata(opened))
        quantize(target / name)
    write_description(opened, target)


def speech(utterances: int) -> list[Any]:
    """Waveforms (S,) of the quick start's utterances, evenly chosen by length."""
    from funrecipe.audio.io import read_audio

    waves = [read_audio(path, sample_rate_hz=SAMPLE_RATE_HZ) for path in (ROOT / "egs/quickstart/data/wav").iterdir()]
    waves.sort(key=lambda wave: (len(wave), wave.tobytes()))
    return [waves[(2 * i + 1) * len(waves) // (2 * utterances)] for i in range(utterances)]
