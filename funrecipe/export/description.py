"""What stands beside an exported graph: the folder layout that FunASR's runtime and sherpa-onnx read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from funrecipe.audio.cmvn import read_cmvn
from funrecipe.export.graph import GRAPH
from funrecipe.families import PUNCTUATION, RECOGNITION, VAD, find_family
from funrecipe.files import write_json, write_text
from funrecipe.model_folder import ModelFolder
from funrecipe.models.sense_voice import ITN_ROWS, LANGUAGE_ROWS
from funrecipe.punctuation.render import mark_names
from funrecipe.vad.options import VadOptions

SENSE_VOICE_PIECES = "chn_jpn_yue_eng_ko_spectok.bpe.model"  # the name by which FunASR's runtime looks for it
# Keys of config.yaml that belong to the model and not to its training.
CONFIG_KEYS = ("model", "model_conf", "frontend", "frontend_conf", "encoder", "encoder_conf", "decoder", "decoder_conf",
               "seaco_decoder", "seaco_decoder_conf", "predictor", "predictor_conf", "ctc_conf", "input_size",
               "token_type", "split_with_space", "vad_post_conf", "punctuation", "punctuation_conf", "punc_list",
               "seg_jieba")  # fmt: skip


def metadata(folder: ModelFolder) -> dict[str, str]:
    """What sherpa-onnx reads in the graph itself: the kind of model, its features, tags, words and marks."""
    family = folder.row
    values = {
        "model_type": family.exported_type,
        "version": "1",
        "model_author": "funrecipe",
        "vocab_size": str(len(folder.tokens)),
    }
    if family.task == PUNCTUATION:
        marks = "|".join(mark_names(folder.config["punc_list"]))
        return values | {"tokens": "|".join(folder.tokens), "punctuations": marks, "unk_symbol": "<unk>"}
    conf: dict[str, Any] = folder.config.get("frontend_conf") or {}
    values |= {"lfr_window_size": str(conf.get("lfr_m", 1)), "lfr_window_shift": str(conf.get("lfr_n", 1))}
    values["normalize_samples"] = "0"
    if folder.cmvn is not None:
        shift, scale = read_cmvn(folder.cmvn)
        values["neg_mean"] = ",".join(map(str, shift.tolist()))
        values["inv_stddev"] = ",".join(map(str, scale.tolist()))
    if family.export_stream is not None:
        encoder, decoder = (folder.config.get(f"{name}_conf") or {} for name in ("encoder", "decoder"))
        values["encoder_output_size"] = str(encoder.get("output_size", 256))
        values["decoder_num_blocks"] = str(decoder.get("num_blocks", 6))
        values["decoder_kernel_size"] = str(decoder.get("kernel_size", 21))
    if family.has_rich_labels:
        values |= {f"lang_{name}": str(row) for name, row in LANGUAGE_ROWS.items()}
        values |= {"with_itn": str(ITN_ROWS["withitn"]), "without_itn": str(ITN_ROWS["woitn"])}
    return values


def write_description(folder: ModelFolder, target: Path) -> None:
    """All files beside the graph: configuration, tokens in both forms, statistics, spelling, sentence pieces."""
    config = {key: folder.config[key] for key in CONFIG_KEYS if folder.config.get(key) is not None}
    write_text(target / "config.yaml", yaml.safe_dump(for_clients(config), allow_unicode=True, sort_keys=False))
    if folder.tokens:
        write_text(target / "tokens.json", json.dumps(list(folder.tokens), ensure_ascii=False, indent=0))
        write_text(target / "tokens.txt", "".join(f"{token} {number}\n" for number, token in enumerate(folder.tokens)))
    model_config = {"am_model_config": "config.yaml", "mode": folder.mode}
    family = folder.row
    if family.task == RECOGNITION:
        write_text(target / "decoding.yaml", "beam_size: 1\nctc_weight: 0.0\nlm_weight: 0.0\n")
        model_config["asr_model_config"] = "decoding.yaml"
    model = {"type": "generic-asr", "am_model_name": GRAPH, "model_config": model_config}
    write_json(target / "configuration.json", {"framework": "onnx", "task": family.hub_task, "model": model})
    files = [("am.mvn", folder.cmvn), ("seg_dict", folder.seg_dict), (SENSE_VOICE_PIECES, folder.bpe_model)]
    files.append(("jieba_usr_dict", folder.path / "jieba_usr_dict"))
    for name, source in files:
        if source is not None and source.is_file():
            shutil.copyfile(source, target / name)


def for_clients(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` as FunASR's clients read it, too: they look for everything in ``model_conf``."""
    model_conf = dict(config.get("model_conf") or {})
    if "predictor_bias" in model_conf:
        model_conf["predictor_bias"] = 0  # they would cut that many tokens, where funrecipe's graphs say blank
    task = find_family(str(config.get("model") or "asr")).task
    if task == PUNCTUATION:
        model_conf["punc_list"] = list(config["punc_list"])
    if task == VAD:
        model_conf = {"max_end_silence_time": VadOptions.max_end_silence_time, **(config.get("vad_post_conf") or {})}
    return {**config, **({"model_conf": model_conf} if model_conf else {})}
