"""A model folder on disk -> one typed, torch-free description of it.

Two layouts exist: the ModelScope 0.x folder (``configuration.json`` names ``model.pb``,
``config.yaml``, ``am.mvn``; tokens in the config or ``tokens.{txt,json}``) and the FunASR 1.x
folder (``model.pt``, ``config.yaml`` with class names). Whatever the layout, ``config`` below
uses the 0.x key names, so that models and decoders see one set of names only.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from funrecipe.errors import DataError
from funrecipe.families import FAMILIES, Family
from funrecipe.model_folder.config_check import check_config, in_hz
from funrecipe.model_folder.files import read_config, read_json, read_token_file, read_yaml
from funrecipe.model_folder.funasr_1x import is_1x, to_0x
from funrecipe.model_folder.speaker import described_by_configuration, is_xvector
from funrecipe.model_folder.zoo import find_row
from funrecipe.text.sentence_pieces import SentencePieceTokenizer, read_pieces
from funrecipe.text.tokenizer import Tokenizer, read_seg_dict

logger = logging.getLogger(__name__)

# Without a configuration.json: (configuration, weights), the first pair that exists.
FILE_PAIRS = (
    ("config.yaml", "model.pb"),
    ("config.yaml", "model.pt"),
    ("config.yaml", "model.safetensors"),
    ("vad.yaml", "vad.pb"),
    ("punc.yaml", "punc.pb"),
    ("sv.yaml", "sv.pb"),
    ("lm.yaml", "lm.pb"),
)
BPE_MODELS = ("bpe.model", "chn_jpn_yue_eng_ko_spectok.bpe.model")
NGRAM_FILES = ("ngram.arpa", "ngram.arpa.gz", "lm.arpa", "lm.arpa.gz")
# Files that identify another toolkit's model folder, so that the error can name it.
FOREIGN_LAYOUTS = (
    ("*.onnx", "an ONNX export (FunASR runtime or sherpa-onnx)"),
    ("*.safetensors", "a Hugging Face transformers model"),
    ("pytorch_model.bin", "a Hugging Face transformers model"),
    ("train.yaml", "a WeNet model"),
    ("final.mdl", "a Kaldi model"),
    ("*.nemo", "a NeMo model"),
    ("hyperparams.yaml", "a SpeechBrain model"),
    ("meta.yaml", "an ESPnet model zoo folder"),
    ("*.jit", "a TorchScript export"),
)
# input_layer -> length of an encoder frame in feature frames (models/input_layers.py has the strides)
SUBSAMPLING = {"conv2d": 4, "conv2dpad": 4, "conv2d2": 2, "conv2d6": 6, "conv2d8": 8}
UNKNOWN = Family("")  # of another package, or misspelled: refused where a model is built


@dataclass(frozen=True)
class ModelFolder:
    """The description of a model folder. Paths are absolute; optional files are None."""

    path: Path
    layout: str  # "0.x" | "1.x"
    mode: str  # configuration.json: paraformer, paraformer_streaming, uniasr, asr, rnnt, ...
    config: dict[str, Any]  # config.yaml with 0.x key names
    tokens: tuple[str, ...]
    weights: Path
    cmvn: Path | None = None
    seg_dict: Path | None = None
    bpe_model: Path | None = None
    decoding: dict[str, Any] = field(default_factory=dict)  # decoding.yaml, over the defaults of the model's zoo row
    lm_config: Path | None = None
    lm_weights: Path | None = None
    ngram: Path | None = None
    quantized: Path | None = None  # of an exported model: its graph in int8
    companions: dict[str, str] = field(default_factory=dict)  # configuration.json: vad_model, punc_model, ..._revision

    @property
    def family(self) -> str:
        """The architecture: the config's ``model`` key (paraformer, uniasr, asr, rnnt, ...)."""
        return str(self.config.get("model") or "asr")

    @property
    def is_exported(self) -> bool:
        """Whether the weights are a graph of ONNX (``funrecipe export``)."""
        return self.weights.suffix == ".onnx"

    @property
    def row(self) -> Family:
        """What the table of families says of it."""
        return FAMILIES.get(self.family, UNKNOWN)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary with its spelling rules."""
        if self.bpe_model is not None:
            return SentencePieceTokenizer(self.tokens, self.bpe_model)
        return Tokenizer(self.tokens, read_seg_dict(self.seg_dict) if self.seg_dict else None)

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the front-end."""
        return int(in_hz(self._frontend("fs", 16000)))

    @property
    def mel_bins(self) -> int:
        """Filter banks of the front-end, before frames are stacked."""
        return int(self._frontend("n_mels", 80))

    @property
    def frame_shift_ms(self) -> float:
        """From one filter-bank frame to the next, in ms."""
        return float(self._frontend("frame_shift", 10))

    @property
    def feature_frame_ms(self) -> float:
        """From one feature frame (stacked, every ``lfr_n``-th kept) to the next, in ms."""
        return self.frame_shift_ms * int(self._frontend("lfr_n", 1))

    @property
    def encoder_frame_ms(self) -> float:
        """From one encoder frame to the next: a feature frame times what the encoder's input layer subsamples."""
        conf = self.config.get("encoder_conf") or {}
        by_layer = SUBSAMPLING.get(str(conf.get("input_layer")), 1)
        return self.feature_frame_ms * int(conf.get("subsampling_factor") or by_layer)

    @property
    def frames_per_second(self) -> float:
        """Encoder frames per second of audio."""
        return 1000 / self.encoder_frame_ms

    def _frontend(self, key: str, default: float) -> Any:
        value = (self.config.get("frontend_conf") or {}).get(key)
        return default if value is None else value


def open_model_folder(path: str | Path) -> ModelFolder:
    """Read the description of a model; no weights are loaded.

    Args:
        path: the folder.

    Raises:
        DataError: the folder, a required file or the token list is missing or malformed, or the
            layout is neither 0.x nor 1.x; names the folder, the file and what was found.
        UnsafeFileError: a YAML file holds a tag that would run code.
    """
    folder = Path(path).expanduser().absolute()  # not resolved: a link in the hub's cache has the model's name
    if not folder.is_dir():
        raise DataError(
            f"no model folder '{path}'",
            hint="give a folder, or an id of egs/asr/models.yaml after 'funrecipe download <id>'",
        )
    configuration = _read_configuration(folder)
    named = _named_files(configuration)
    layout, config, listed_tokens, weights = _read_description(folder, configuration, named)
    family = str(config.get("model") or "asr")
    row = FAMILIES.get(family, UNKNOWN)

    def find(role: str, *usual: str, is_needed: bool = True) -> Path | None:
        return _optional(folder, named.get(role), *usual, is_needed=is_needed)

    bpe_model = find("bpe_model", *_basename(config.get("bpemodel")), *BPE_MODELS)
    tokens = _read_tokens(folder, listed_tokens, named.get("tokens"))
    if not tokens and bpe_model is not None:
        tokens = tuple(read_pieces(bpe_model))
    elif not tokens and row.has_tokens:
        raise _missing(folder, "tokens.txt or tokens.json", "and the configuration has no token_list")
    config["token_list"] = list(tokens)
    cmvn = find("cmvn", *_basename(config.get("cmvn_file")), "am.mvn", f"{weights.stem}.mvn")
    if cmvn is None and config.get("frontend") and row.has_cmvn:
        logger.warning("%s: no am.mvn, so features are not normalized", folder)
    decoding = find("decoding", "decoding.yaml")
    lm_weights = find("lm_weights", "lm/lm.pb", "lm.pb", is_needed=False)
    lm_config = find("lm_config", "lm/lm.yaml", "lm.yaml", is_needed=False)
    is_lm = weights == lm_weights  # the folder is a language model; it does not merely contain one
    return ModelFolder(
        path=folder,
        layout=layout,
        mode=str(_model_config(configuration).get("mode") or row.folder_mode or family),
        config=config,
        tokens=tokens,
        weights=weights,
        cmvn=cmvn,
        seg_dict=find("seg_dict", "seg_dict", "seg_dict.txt", is_needed=False),
        bpe_model=bpe_model,
        decoding=_zoo_defaults(folder, configuration) | (read_yaml(decoding) if decoding else {}),
        lm_config=None if is_lm else lm_config,
        lm_weights=None if is_lm else lm_weights,
        ngram=_optional(folder, None, *NGRAM_FILES),
        quantized=_optional(folder, None, "model_quant.onnx") if weights.suffix == ".onnx" else None,
        companions=_companions(_model_config(configuration)),
    )


def _companions(model_config: dict[str, Any]) -> dict[str, str]:
    """The models that a recognizer is served with, and their revisions, by their keys."""
    keys = [f"{kind}_model{end}" for kind in ("vad", "punc", "spk") for end in ("", "_revision")]
    return {key: value for key in keys if isinstance(value := model_config.get(key), str) and value}


def _read_description(
    folder: Path, configuration: dict[str, Any], named: dict[str, str]
) -> tuple[str, dict[str, Any], list[str] | str | None, Path]:
    """Layout, checked configuration (0.x key names), token list as written, weights. Raises DataError, UsageError."""
    described = described_by_configuration(configuration)
    if described is not None and not (folder / named.get("config", "config.yaml")).is_file():
        config_path, weights = folder / "configuration.json", _named_weights(folder, named)
        config, token_list = described, None
    else:
        config_path, weights = _config_and_weights(folder, named)
        config, token_list = read_config(config_path)
    layout = "1.x" if is_1x(config) else "0.x"
    if layout == "1.x":
        config = to_0x(config)
        token_list = config.pop("token_list", None) or token_list
    if is_xvector(config):
        config["model"] = "sv"
    if "model" not in config and "encoder" not in config:
        raise _unknown_layout(folder, f"{config_path.name} has neither a 'model' nor an 'encoder' key")
    check_config(config, str(config_path))
    return layout, config, token_list, weights


def _read_configuration(folder: Path) -> dict[str, Any]:
    path = folder / "configuration.json"
    configuration = read_json(path) if path.is_file() else {}
    if not isinstance(configuration, dict):
        raise DataError("expected a JSON object", where=str(path))
    return configuration


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _model_config(configuration: dict[str, Any]) -> dict[str, Any]:
    model = _mapping(configuration.get("model"))
    return _mapping(model.get("model_config")) or _mapping(model.get("punc_model_config"))


def _named_files(configuration: dict[str, Any]) -> dict[str, str]:
    """Role -> file name, from the first key that names one.

    0.x has a block ``model`` with a block ``model_config``, 1.x a block ``file_path_metas`` with two blocks.
    """
    model, model_config = _mapping(configuration.get("model")), _model_config(configuration)
    metas = _mapping(configuration.get("file_path_metas"))
    tokenizer, frontend = _mapping(metas.get("tokenizer_conf")), _mapping(metas.get("frontend_conf"))
    is_vad = "vad_model_name" in model_config
    roles = {
        "weights": [
            model_config.get("vad_model_name"),
            model.get("am_model_name"),
            model.get("punc_model_name"),
            model_config.get("sv_model_name"),
            model.get("sv_model_name"),
            model.get("pretrained_model"),
            metas.get("init_param"),
        ],
        "config": [
            model_config.get("vad_model_config" if is_vad else "am_model_config"),
            model_config.get("punc_config"),
            model_config.get("sv_model_config"),
            model.get("sv_model_config"),
            metas.get("config"),
        ],
        "cmvn": [model_config.get("vad_mvn_file" if is_vad else "mvn_file"), frontend.get("cmvn_file")],
        "decoding": [model_config.get("asr_model_config")],
        "lm_weights": [model_config.get("lm_model_name")],
        "lm_config": [model_config.get("lm_model_config")],
        "tokens": [tokenizer.get("token_list")],
        "seg_dict": [tokenizer.get("seg_dict"), tokenizer.get("seg_dict_file")],
        "bpe_model": [tokenizer.get("bpemodel")],
    }
    said = {role: [name for name in names if isinstance(name, str) and name] for role, names in roles.items()}
    return {role: names[0] for role, names in said.items() if names}


def _zoo_defaults(folder: Path, configuration: dict[str, Any]) -> dict[str, Any]:
    """Decode options of the model's row in the zoo, found by any name of the model."""
    row = next(filter(None, map(find_row, _names(folder, configuration))), None)
    return dict(row.decode) if row is not None else {}


def _names(folder: Path, configuration: dict[str, Any]) -> list[str]:
    """Ids and names of a model: from its configuration (0.x, 1.x), then from its path, links and their targets."""
    on_hub = configuration.get("model_name_in_hub")
    written = [_model_config(configuration).get("model"), *(on_hub.values() if isinstance(on_hub, dict) else [on_hub])]
    places = [folder, *([folder.readlink()] if folder.is_symlink() else []), folder.resolve()]
    parts = [
        part.rpartition("--")[2].replace("___", ".")  # models--OWNER--NAME/snapshots/REVISION; ModelScope's dot
        for place in places
        for part in (place.name, *([place.parent.parent.name] if place.parent.name == "snapshots" else []))
    ]
    names = [name for name in (*written, *parts) if isinstance(name, str) and name]
    return [*names, *(name.rpartition("/")[2] for name in names)]  # Hugging Face: funasr/NAME


def _basename(name: Any) -> list[str]:
    """Configurations hold the author's absolute paths; the file itself is in the folder."""
    return [Path(name).name] if isinstance(name, str) and name else []


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"configuration.json names '{name}', which is outside the model folder", where=str(folder))
    return path


def _optional(folder: Path, named: str | None, *usual: str, is_needed: bool = True) -> Path | None:
    """The file that the configuration names, else the first usual name that exists, else None.

    A named file that is missing is an error if recognition needs it, else a warning.
    """
    if named is not None and _inside(folder, named).is_file():
        return folder / named
    found = next((folder / name for name in usual if (folder / name).is_file()), None)
    if named is not None:
        if found is None and is_needed:
            raise _missing(folder, named, "configuration.json names it")
        instead = found.name if found else "nothing"
        logger.warning("%s: configuration.json names %s, which is not there; %s is used", folder, named, instead)
    return found


def _config_and_weights(folder: Path, named: dict[str, str]) -> tuple[Path, Path]:
    pairs = [(c, w) for c, w in FILE_PAIRS if (folder / c).is_file() and (folder / w).is_file()]
    present = next((c for c, _ in FILE_PAIRS if (folder / c).is_file()), None)
    config_name = named.get("config") or (pairs[0][0] if pairs else present)
    if config_name is None:
        raise _unknown_layout(folder, "no config.yaml")
    if not _inside(folder, config_name).is_file():
        raise _missing(folder, config_name, "configuration.json names it as the configuration")
    usual = [w for c, w in FILE_PAIRS if c == config_name]
    weights_name = named.get("weights") or next((w for w in usual if (folder / w).is_file()), None)
    if weights_name is None:
        raise _missing(folder, " or ".join(usual) or "model.pb", "the weights")
    return folder / config_name, _named_weights(folder, {"weights": weights_name})


def _named_weights(folder: Path, named: dict[str, str]) -> Path:
    name = named.get("weights", "model.pt")
    if not _inside(folder, name).is_file():
        raise _missing(folder, name, "configuration.json names it as the weights")
    return folder / name


def _read_tokens(folder: Path, listed: list[str] | str | None, named: str | None) -> tuple[str, ...]:
    """The token list of the configuration, or of the file that it names, or of ``tokens.{json,txt}``; empty without.

    A file of the same length wins over a list in the configuration that repeats tokens: in published
    configurations the ``@@`` of word pieces is lost.
    """
    names = [name for name in (named, *_basename(listed)) if name]
    path = _optional(folder, None, *names, "tokens.json", "tokens.txt")
    in_configuration = listed if isinstance(listed, list) else []
    lost = _repeated(in_configuration)
    if in_configuration and not lost:
        return tuple(in_configuration)
    in_file = read_token_file(path) if path else []
    repeated = _repeated(in_file)
    if not in_configuration and repeated:
        raise DataError(f"duplicate token '{repeated[0]}'", where=str(path))
    if not in_configuration or (len(in_file) == len(in_configuration) and not repeated):
        return tuple(in_file)
    logger.warning("%s: %d of %d tokens in the configuration are repeated", folder, len(lost), len(in_configuration))
    return tuple(in_configuration)


def _repeated(tokens: Sequence[str]) -> list[str]:
    """Those that occur earlier in the list, too."""
    first = {token: number for number, token in reversed(list(enumerate(tokens)))}
    return [token for number, token in enumerate(tokens) if first[token] < number]


def _listing(folder: Path) -> str:
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return shown or "nothing"


def _missing(folder: Path, name: str, why: str) -> DataError:
    return DataError(
        f"the model folder has no {name} ({why}); found {_listing(folder)}",
        where=str(folder),
        hint="download the whole model again: funrecipe download <id>",
    )


def _unknown_layout(folder: Path, why: str) -> DataError:
    foreign = next((f"; it looks like {name}" for pattern, name in FOREIGN_LAYOUTS if any(folder.glob(pattern))), "")
    return DataError(
        f"neither a ModelScope 0.x nor a FunASR 1.x model folder: {why}{foreign}; found {_listing(folder)}",
        where=str(folder),
        hint="give a folder with config.yaml and model.pb (0.x) or model.pt (1.x)",
    )
