"""A checkpoint of a training run as a model folder to distribute."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from funrecipe.checkpoint import load_state_dict, save_checkpoint, save_safetensors
from funrecipe.errors import DataError, UsageError
from funrecipe.files import atomic_folder, write_json, write_text
from funrecipe.model_folder.checkpoints import find_checkpoint
from funrecipe.model_folder.folder import NGRAM_FILES, ModelFolder, open_model_folder, read_config
from funrecipe.model_folder.funasr_1x import to_1x
from funrecipe.punctuation.words import DICTIONARY
from funrecipe.train.output_folder import is_run

# The keys of a configuration that belong to the model, not to the run.
MODEL_KEYS = ("model", "model_conf", "frontend", "frontend_conf", "specaug", "specaug_conf", "encoder",
              "encoder_conf", "encoder2", "encoder2_conf", "decoder", "decoder_conf", "decoder2", "decoder2_conf",
              "seaco_decoder", "seaco_decoder_conf", "predictor", "predictor_conf", "predictor2", "predictor2_conf",
              "stride_conv", "stride_conv_conf", "ctc_conf", "rnnt_decoder", "rnnt_decoder_conf", "joint_network",
              "joint_network_conf", "input_size", "token_type", "split_with_space", "lm", "lm_conf", "optim",
              "optim_conf", "scheduler", "scheduler_conf", "token_list", "punctuation", "punctuation_conf",
              "punc_list", "seg_jieba", "vad_post_conf")  # fmt: skip


WEIGHTS_NAMES = {
    ("0.x", "torch"): "model.pb",
    ("1.x", "torch"): "model.pt",
    ("0.x", "safetensors"): "model.safetensors",
}
# Files that are copied as they are.
MODEL_FILES = ("tokens.txt", "am.mvn", "seg_dict", "bpe.model", "decoding.yaml", DICTIONARY)


def pack_model(
    run_dir: Path,
    checkpoint: str,
    target: Path,
    *,
    half: bool = False,
    overwrite: bool = False,
    layout: str = "0.x",
    weights: str = "torch",
) -> Path:
    """Write a model folder with one checkpoint: weights, configuration, tokens, statistics.

    Args:
        layout: ``0.x``, as ModelScope serves it (``model.pb``), or ``1.x``, for FunASR's AutoModel (``model.pt``).
        weights: ``torch`` or ``safetensors`` (``model.safetensors``), which FunASR itself does not read.
        half: store weights as float16; loading converts them back.
        overwrite: replace a target that is a model folder. The target is complete or absent.

    Raises:
        DataError: the target is not empty, or is or holds a training run, or there is no such run or checkpoint.
        UsageError: a layout that the family does not have, or safetensors in FunASR's.
    """
    if (layout, weights) not in WEIGHTS_NAMES:
        raise UsageError("FunASR 1.x does not read safetensors", where="--weights", hint="use --layout 0.x, or torch")
    folder = open_model_folder(run_dir)
    find_checkpoint(run_dir, checkpoint)
    if target.exists() and any(target.iterdir()) and not (overwrite and (target / "configuration.json").is_file()):
        raise DataError("the target is not empty", where=str(target), hint="pass --overwrite to replace a model folder")
    if is_run(target) or target.resolve() in (run_dir.resolve(), *run_dir.resolve().parents):
        what = "the target is the folder of a training run, or holds it"
        raise DataError(what, where=str(target), hint="name another --target; a run is never overwritten")
    with atomic_folder(target) as new:
        name = WEIGHTS_NAMES[layout, weights]
        pack_weights(run_dir / checkpoint, new / name, half)
        fill_folder(new, folder, run_dir, half)
        if layout == "1.x":
            write_1x(new, folder, name)
        else:
            write_0x(new, run_dir, target.name, name)
    return target


def write_0x(new: Path, run_dir: Path, name: str, weights: str) -> None:
    """The run's ``configuration.json``, for the packed weights."""
    description = json.loads((run_dir / "configuration.json").read_text("utf-8"))
    description["model"]["am_model_name"] = weights
    description["model"]["model_config"]["model"] = name
    write_json(new / "configuration.json", description)


def write_1x(new: Path, folder: ModelFolder, weights: str) -> None:
    """Turn a folder that :func:`fill_folder` made into FunASR 1.x's layout. Raises UsageError for other families."""
    config = to_1x(read_config(new / "config.yaml")[0], is_bpe=folder.bpe_model is not None)
    write_text(new / "config.yaml", yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    tokenizer = {"bpemodel": "bpe.model"} if folder.bpe_model is not None else {"token_list": "tokens.json"}
    if (new / "seg_dict").is_file():
        tokenizer["seg_dict_file"] = "seg_dict"
    metas = {"init_param": weights, "config": "config.yaml", "tokenizer_conf": tokenizer}
    if (new / "am.mvn").is_file():
        metas["frontend_conf"] = {"cmvn_file": "am.mvn"}
    description = {"framework": "pytorch", "task": "auto-speech-recognition", "model": {"type": "funasr"}}
    description["file_path_metas"] = metas
    write_json(new / "configuration.json", description)


def fill_folder(new: Path, folder: ModelFolder, run_dir: Path, half: bool) -> None:
    """Configuration, tokens and statistics in layout 0.x, with the language models that the search uses."""
    pack_config(folder.config, new / "config.yaml")
    if folder.tokens:
        write_text(new / "tokens.json", json.dumps(list(folder.tokens), ensure_ascii=False) + "\n")
    for name in (*MODEL_FILES, *NGRAM_FILES):
        if (run_dir / name).is_file():
            shutil.copyfile(run_dir / name, new / name)
    if folder.lm_config and folder.lm_weights:
        pack_weights(folder.lm_weights, new / "lm.pb", half)
        pack_config(read_config(folder.lm_config)[0], new / "lm.yaml")


def pack_weights(source: Path, target: Path, half: bool) -> None:
    state = load_state_dict(source)
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save = save_safetensors if target.suffix == ".safetensors" else save_checkpoint
    save({name: value.clone() for name, value in state.items()}, target)


def pack_config(config: Mapping[str, Any], target: Path) -> None:
    kept = {key: config[key] for key in MODEL_KEYS if key in config}
    write_text(target, yaml.safe_dump(kept, allow_unicode=True, sort_keys=False))
