"""The output directory of a run as a model folder of its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import yaml

from funrecipe.errors import UsageError
from funrecipe.families import find_family
from funrecipe.files import atomic_write, write_text
from funrecipe.model_folder import ModelFolder
from funrecipe.model_folder.folder import FILE_PAIRS, FOREIGN_LAYOUTS
from funrecipe.punctuation.words import DICTIONARY
from funrecipe.train.averaging import average_name
from funrecipe.train.options import TrainOptions

RUN_KEY = "init_model"  # in config.yaml of an output directory: what the run started from


def refuse_other_model(output_dir: Path) -> None:
    """Raise UsageError if ``output_dir`` holds a model that is not the result of a training run here."""
    names = ["configuration.json", *(name for pair in FILE_PAIRS for name in pair), *(n for n, _ in FOREIGN_LAYOUTS)]
    signs = sorted({path.name for name in names for path in output_dir.glob(name)})
    if signs and not is_run(output_dir):
        raise UsageError(
            f"output_dir is the folder of another model (it has {', '.join(signs)}): {output_dir}",
            hint="choose another --output_dir; models are never overwritten",
        )


def is_run(folder: Path) -> bool:
    """Whether a training run wrote the model in ``folder``."""
    return RUN_KEY in _keys(folder / "config.yaml")


def _keys(config: Path) -> frozenset[str]:
    """Top-level keys of a YAML file; nothing where it cannot be read."""
    try:
        loaded = yaml.safe_load(config.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return frozenset()
    return frozenset(map(str, loaded)) if isinstance(loaded, dict) else frozenset()


def write_model_folder(options: TrainOptions, folder: ModelFolder, output_dir: Path) -> None:
    """Make the output directory a model folder of its own, with every setting in force in its ``config.yaml``.

    ``configuration.json`` names the average of the first criterion, which training writes; so ``--model OUTPUT_DIR``
    decodes with it. Language models are copied if the model's ``decoding.yaml`` uses them.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    settings = {
        k: [list(c) for c in v] if k == "best_model_criterion" else list(v) if isinstance(v, tuple) else v
        for k, v in asdict(options).items()
        if k not in ("model", "config", "token_list", "cmvn_file", "pretrained")
    }
    model_conf = {**(folder.config.get("model_conf") or {}), **options.model_conf}
    config = {**folder.config, **settings, "model_conf": model_conf, RUN_KEY: options.model or options.config}
    phase, key, _ = options.best_model_criterion[0]
    recognizes = find_family(folder.family).measure is None
    description = {
        "am_model_name": average_name(phase, key),
        "model_config": {
            "type": "pytorch",
            "code_base": "funasr",
            "mode": folder.mode,
            "lang": "zh-cn",
            "batch_size": 1,
            "am_model_config": "config.yaml",
            **({"mvn_file": "am.mvn"} if folder.cmvn else {}),
            **({"asr_model_config": "decoding.yaml"} if recognizes else {}),
            "model": output_dir.resolve().name,
        },
    }
    configuration = {
        "framework": "pytorch",
        "task": find_family(folder.family).hub_task,
        "model": {"type": "generic-asr", **description},
        "pipeline": {"type": "asr-inference"},
    }
    write_text(output_dir / "config.yaml", yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    write_text(output_dir / "configuration.json", json.dumps(configuration, indent=2) + "\n")
    if folder.tokens:
        write_text(output_dir / "tokens.txt", "".join(f"{token}\n" for token in folder.tokens))
    if recognizes:
        write_text(output_dir / "decoding.yaml", yaml.safe_dump(folder.decoding or {"beam_size": 1}))
    files = [("am.mvn", folder.cmvn), ("seg_dict", folder.seg_dict), ("bpe.model", folder.bpe_model)]
    if folder.config.get("seg_jieba"):
        files.append((DICTIONARY, folder.path / DICTIONARY))
    if folder.ngram is not None and folder.decoding.get("ngram_weight"):
        files.append((folder.ngram.name, folder.ngram))
    if folder.decoding.get("lm_weight"):
        files += [("lm.yaml", folder.lm_config), ("lm.pb", folder.lm_weights)]
    for name, source in files:
        if source is not None and source.resolve() != (output_dir / name).resolve():
            with source.open("rb") as original, atomic_write(output_dir / name, "wb") as copy:
                shutil.copyfileobj(original, copy)
