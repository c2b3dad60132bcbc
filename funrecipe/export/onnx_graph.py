"""Write a recognizer as ONNX, in the folder layout that FunASR's runtime and sherpa-onnx read."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from funrecipe.audio.cmvn import read_cmvn
from funrecipe.checkpoint import load_weights
from funrecipe.errors import UsageError
from funrecipe.export.networks import ExportedHotwords
from funrecipe.families import find_family, load_part, names_with
from funrecipe.files import write_json, write_text
from funrecipe.model_folder import ModelFolder
from funrecipe.models.registry import build_model, input_size
from funrecipe.models.sense_voice import ITN_ROWS, LANGUAGE_ROWS

OPSET = 17
GRAPH, QUANTIZED = "model.onnx", "model_quant.onnx"
TRACED_FRAMES = (61, 40)  # of the two utterances that the graph is traced with; other lengths work as well
SENSE_VOICE_PIECES = "chn_jpn_yue_eng_ko_spectok.bpe.model"  # the name by which FunASR's runtime looks for it
# Keys of config.yaml that belong to the model and not to its training.
CONFIG_KEYS = ("model", "model_conf", "frontend", "frontend_conf", "encoder", "encoder_conf", "decoder", "decoder_conf",
               "seaco_decoder", "seaco_decoder_conf",
               "predictor", "predictor_conf", "ctc_conf", "input_size", "token_type", "split_with_space")  # fmt: skip


def export_network(folder: ModelFolder) -> nn.Module:
    """The network of ``folder`` as one function, with its weights.

    Raises:
        UsageError: the family, or this model of it, cannot be exported.
    """
    family = find_family(folder.family)
    if family.export is None:
        hint = f"families that can: {', '.join(names_with('export'))}"
        raise UsageError(f"models of family '{folder.family}' cannot be exported", where=str(folder.path), hint=hint)
    model = build_model(folder.config, len(folder.tokens))
    if family.export.endswith("ExportedCTC") and model.ctc is None:
        raise UsageError("a model without a CTC head cannot be exported", where=str(folder.path),
                         hint="its attention decoder works token by token and is not one graph")  # fmt: skip
    load_weights(model, folder.weights)
    return load_part(family.export, "export")(model.eval().requires_grad_(False)).eval()


def write_graph(network: nn.Module, folder: ModelFolder, path: Path) -> None:
    """Trace ``network`` with batch and time left open, and add what sherpa-onnx wants to know."""
    import onnx

    feats = torch.zeros(len(TRACED_FRAMES), TRACED_FRAMES[0], input_size(folder.config))
    lens = torch.tensor(TRACED_FRAMES, dtype=torch.int32)
    further = further_inputs(network, lens)
    axes = {name: {0: "batch"} for name in (*network.inputs, *network.outputs)}
    axes["speech"][1] = "frames"
    if "bias_embed" in axes:
        axes["bias_embed"][1] = "hotwords"
    for name in set(network.outputs) - {"token_num", "encoder_out_lens"}:
        axes[name][1] = f"{name}_length"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of Python values that are constants here
        torch.onnx.export(
            network, (feats, lens, *further), str(path), input_names=list(network.inputs),
            output_names=list(network.outputs), dynamic_axes=axes, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    graph = onnx.load(str(path))
    for key, value in metadata(folder).items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(graph, str(path))


def further_inputs(network: nn.Module, lens: Tensor) -> list[Tensor]:
    """Inputs beside features and lengths for a batch of ``lens``: rows of queries, or vectors of hotwords."""
    if "bias_embed" in network.inputs:
        size = network.model.bias_encoder.hidden_size
        return [torch.randn(len(lens), 4, size, generator=torch.Generator().manual_seed(0))]
    if "language" in network.inputs:
        return [torch.zeros_like(lens), torch.full_like(lens, ITN_ROWS["woitn"])]
    return []


def write_hotword_graph(network: nn.Module, path: Path) -> None:
    """The encoder of hotwords, where the family has one, as a graph of its own."""
    words = torch.tensor([[1, 2], [1, 0]], dtype=torch.int32)
    axes = {"hotword": {0: "hotwords", 1: "length"}, "hw_embed": {0: "length", 1: "hotwords"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ExportedHotwords(network.model).eval(), (words,), str(path), input_names=["hotword"],
            output_names=["hw_embed"], dynamic_axes=axes, opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def metadata(folder: ModelFolder) -> dict[str, str]:
    """What sherpa-onnx reads in the graph itself: the kind of model, its features, its tags."""
    conf: dict[str, Any] = folder.config.get("frontend_conf") or {}
    is_sense_voice = folder.family == "sense_voice"
    values = {
        "model_type": "sense_voice_ctc" if is_sense_voice else "paraformer" if "paraformer" in folder.family else "ctc",
        "version": "1",
        "model_author": "funrecipe",
        "vocab_size": str(len(folder.tokens)),
        "lfr_window_size": str(conf.get("lfr_m", 1)),
        "lfr_window_shift": str(conf.get("lfr_n", 1)),
        "normalize_samples": "0",
    }
    if folder.cmvn is not None:
        shift, scale = read_cmvn(folder.cmvn)
        values["neg_mean"] = ",".join(map(str, shift.tolist()))
        values["inv_stddev"] = ",".join(map(str, scale.tolist()))
    if is_sense_voice:
        values |= {f"lang_{name}": str(row) for name, row in LANGUAGE_ROWS.items()}
        values |= {"with_itn": str(ITN_ROWS["withitn"]), "without_itn": str(ITN_ROWS["woitn"])}
    return values


def quantize(path: Path) -> Path:
    """Matrix products in int8 with weights quantized per output; returns the file beside ``path``.

    Weights are unsigned, because products of unsigned with signed numbers overflow on CPUs without VNNI. What counts
    tokens (CIF) stays float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    counting = [node.name for node in onnx.load(str(path)).graph.node if "cif_output" in node.name]
    target, root = path.with_name(QUANTIZED), logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # onnxruntime gives advice on the root logger
    quantize_dynamic(
        path, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QUInt8,
        nodes_to_exclude=counting,
    )  # fmt: skip
    root.setLevel(level)
    return target


def write_description(folder: ModelFolder, target: Path) -> None:
    """All files beside the graph: configuration, tokens in both forms, statistics, spelling, sentence pieces."""
    config = {key: folder.config[key] for key in CONFIG_KEYS if folder.config.get(key) is not None}
    # funrecipe's graphs say blank where FunASR's clients would cut the last predictor_bias tokens.
    model_conf = config.get("model_conf") or {}
    config["model_conf"] = {**model_conf, **({"predictor_bias": 0} if "predictor_bias" in model_conf else {})}
    write_text(target / "config.yaml", yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    write_text(target / "tokens.json", json.dumps(list(folder.tokens), ensure_ascii=False, indent=0))
    write_text(target / "tokens.txt", "".join(f"{token} {number}\n" for number, token in enumerate(folder.tokens)))
    write_text(target / "decoding.yaml", "beam_size: 1\nctc_weight: 0.0\nlm_weight: 0.0\n")
    model_config = {"am_model_config": "config.yaml", "asr_model_config": "decoding.yaml", "mode": folder.mode}
    write_json(
        target / "configuration.json",
        {
            "framework": "onnx",
            "task": "auto-speech-recognition",
            "model": {"type": "generic-asr", "am_model_name": GRAPH, "model_config": model_config},
        },
    )
    files = [("am.mvn", folder.cmvn), ("seg_dict", folder.seg_dict), (SENSE_VOICE_PIECES, folder.bpe_model)]
    for name, source in files:
        if source is not None:
            shutil.copyfile(source, target / name)
