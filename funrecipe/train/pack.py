"""Before training from scratch: token list and feature statistics. After it: a model folder to give away."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from funrecipe.audio.cmvn import cmvn_from_statistics, write_cmvn
from funrecipe.audio.frontend import WavFrontend
from funrecipe.audio.io import read_audio
from funrecipe.checkpoint import load_state_dict, save_checkpoint
from funrecipe.data.kaldi_dir import Utterance, read_data_dir
from funrecipe.errors import DataError, list_problems
from funrecipe.files import temporary_name, write_text
from funrecipe.model_folder.folder import NGRAM_FILES, ModelFolder, open_model_folder, read_config
from funrecipe.text.units import SPACE, has_blank_between_words, inner_marks, is_mark, is_unspaced, split_characters

log = logging.getLogger(__name__)
SPECIAL = ("<blank>", "<s>", "</s>")
UNKNOWN = "<unk>"
MAX_UNREADABLE_SHARE = 0.1  # as in training


def count_characters(texts: Iterable[str]) -> Counter[str]:
    """How often each character occurs; marks are no tokens."""
    return Counter(c for text in texts for c in split_characters(text) if not is_mark(c))


def write_token_list(
    data_dir: Path, path: Path, *, min_count: int = 1, further: Iterable[str] = (), space: bool | None = None
) -> int:
    """``tokens.txt`` of a training set: blank, sos, eos, sorted characters, unknown. Returns its length.

    Args:
        space: whether the list gets ``<space>`` and the marks inside words, so that blanks between words are kept;
            None: where most letters are of a script that has such blanks. Logs what a list without it loses.
    """
    texts = read_data_dir(data_dir).texts
    if not texts:
        raise DataError("no text to take tokens from", where=str(data_dir))
    counts = count_characters(texts.values())
    blanks = sum(has_blank_between_words(text) for text in texts.values())
    if space is None:
        spaced = sum(n for c, n in counts.items() if not is_unspaced(c) and c.isalpha())
        space = blanks > 0 and 2 * spaced > sum(n for c, n in counts.items() if c.isalpha())
    if space:
        counts += Counter(mark for text in texts.values() for mark in inner_marks(text.lower()))
        log.info("%s: %d of %d texts hold blanks between words: the list has %s", path, blanks, len(texts), SPACE)
    elif blanks:
        log.warning(
            "%d of %d texts hold blanks between words (English in Chinese?), which are lost in training and in results:"
            " --space true keeps them with a token %s", blanks, len(texts), SPACE,
        )  # fmt: skip
    characters = {c for c, n in counts.items() if n >= min_count} | set(further)
    tokens = [*SPECIAL, *([SPACE] if space else []), *sorted(characters), UNKNOWN]
    write_text(path, "".join(f"{token}\n" for token in tokens))
    return len(tokens)


def write_statistics(data_dir: Path, frontend_conf: Mapping[str, Any], path: Path, *, max_utterances: int = 0) -> int:
    """``am.mvn`` over the features of a training set, low frame rate included. Returns the number of frames.

    Args:
        max_utterances: only so many, evenly spread; 0: all.

    Raises:
        DataError: more than a tenth of the files cannot be read, or there is no frame at all.
    """
    frontend = WavFrontend.from_config({**frontend_conf, "dither": 0.0})
    utterances = read_data_dir(data_dir).utterances
    if max_utterances and len(utterances) > max_utterances:
        utterances = utterances[:: -(-len(utterances) // max_utterances)]
    sums, squares, frames = np.zeros(frontend.output_size), np.zeros(frontend.output_size), 0
    unreadable = []
    for utterance in utterances:
        try:
            values = features_of(utterance, frontend, int(frontend_conf.get("fs", 16000)))
        except DataError as error:
            unreadable.append(str(error))
            continue
        sums, squares, frames = sums + values.sum(0), squares + (values**2).sum(0), frames + len(values)
    if unreadable:
        found = f"{len(unreadable)} of {len(utterances)} files cannot be read\n{list_problems(unreadable)}"
        if len(unreadable) > MAX_UNREADABLE_SHARE * len(utterances):
            raise DataError(found, where=str(data_dir))
        log.warning("%s: %s", data_dir, found)
    write_cmvn(path, cmvn_from_statistics(sums, squares, frames))
    return frames


def features_of(utterance: Utterance, frontend: WavFrontend, sample_rate_hz: int) -> np.ndarray:
    """``(T, D)`` float64. Raises DataError."""
    wave = read_audio(utterance.audio, sample_rate_hz=sample_rate_hz, start_s=utterance.start_s, end_s=utterance.end_s)
    with torch.inference_mode():
        feats, feat_lens = frontend(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    return feats[0, : int(feat_lens[0])].double().numpy()


# What a configuration keeps when it is given away: the model, not the run.
MODEL_KEYS = ("model", "model_conf", "frontend", "frontend_conf", "specaug", "specaug_conf", "encoder", "encoder_conf",
              "encoder2", "encoder2_conf", "decoder", "decoder_conf", "decoder2", "decoder2_conf", "predictor",
              "predictor_conf", "predictor2", "predictor2_conf", "stride_conv", "stride_conv_conf", "ctc_conf",
              "rnnt_decoder", "rnnt_decoder_conf", "joint_network", "joint_network_conf", "input_size", "token_type",
              "split_with_space", "lm", "lm_conf", "optim", "optim_conf", "scheduler", "scheduler_conf",
              "token_list")  # fmt: skip


# Files that go into the packed folder as they are.
MODEL_FILES = ("tokens.txt", "am.mvn", "seg_dict", "bpe.model", "decoding.yaml")


def pack_model(run_dir: Path, checkpoint: str, target: Path, *, half: bool = False, overwrite: bool = False) -> Path:
    """A ModelScope folder of one checkpoint: ``model.pb``, configuration, tokens, statistics, and nothing of the run.

    Args:
        half: store weights as float16; loading converts them back.
        overwrite: replace a target that is a model folder. The target is complete or not there at all.

    Raises:
        DataError: the target holds something else already, or the run or checkpoint is not there.
    """
    folder = open_model_folder(run_dir)
    if not (run_dir / checkpoint).is_file():
        found = ", ".join(sorted(p.name for p in run_dir.glob("*.pb")))
        raise DataError(f"no checkpoint '{checkpoint}'", where=str(run_dir), hint=f"there are: {found}")
    if target.exists() and any(target.iterdir()) and not (overwrite and (target / "configuration.json").is_file()):
        raise DataError("the target is not empty", where=str(target), hint="--overwrite replaces a model folder")
    new = temporary_name(target)
    new.mkdir(parents=True)
    try:
        fill_folder(new, folder, run_dir, checkpoint, half)
        description = json.loads((run_dir / "configuration.json").read_text("utf-8"))
        description["model"]["am_model_name"] = "model.pb"
        description["model"]["model_config"]["model"] = target.name
        write_text(new / "configuration.json", json.dumps(description, indent=2, ensure_ascii=False) + "\n")
        if target.exists():
            shutil.rmtree(target)
        os.replace(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return target


def fill_folder(new: Path, folder: ModelFolder, run_dir: Path, checkpoint: str, half: bool) -> None:
    """Everything of a packed folder but ``configuration.json``; language models that its search uses too."""
    pack_weights(run_dir / checkpoint, new / "model.pb", half)
    pack_config(folder.config, new / "config.yaml")
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
    save_checkpoint({name: value.clone() for name, value in state.items()}, target)


def pack_config(config: Mapping[str, Any], target: Path) -> None:
    kept = {key: config[key] for key in MODEL_KEYS if key in config}
    write_text(target, yaml.safe_dump(kept, allow_unicode=True, sort_keys=False))
