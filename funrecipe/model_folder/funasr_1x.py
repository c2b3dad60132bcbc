"""FunASR 1.x configuration -> the 0.x key names that the rest of funrecipe uses.

FunASR 1.x names classes (``encoder: SANMEncoder``) where 0.x named choices (``encoder: sanm``), moved
the training options into ``train_conf`` and the tokenizer's into ``tokenizer_conf``. The parameters
inside the ``*_conf`` blocks and the state-dict keys are the same in both, so names are all that changes.
Source: the registration names in FunASR 1.4.16 and the choices of FunASR 0.8.8's ASR task.
"""

from __future__ import annotations

from typing import Any

from funrecipe.errors import UsageError
from funrecipe.families import FAMILIES, PUNCTUATION, VAD, find_family

MODELS = {name: family for family, row in FAMILIES.items() for name in row.classes_1x}
ENCODERS = {
    "SANMEncoder": "sanm",
    "SANMEncoderChunkOpt": "sanm_chunk_opt",
    "SenseVoiceEncoderSmall": "sense_voice_small",
    "ConformerEncoder": "conformer",
    "ChunkConformerEncoder": "chunk_conformer",
    "TransformerEncoder": "transformer",
    "SANMVadEncoder": "sanm_vad",
    "Data2VecEncoder": "data2vec_encoder",
    "FSMN": "fsmn",
}
DECODERS = {
    "ParaformerSANMDecoder": "paraformer_decoder_sanm",
    "ParaformerDecoderSAN": "paraformer_decoder_san",
    "ParaformerSANDecoder": "paraformer_decoder_san",
    "ContextualParaformerDecoder": "contextual_paraformer_decoder",
    "FsmnDecoderSCAMAOpt": "fsmn_scama_opt",
    "TransformerDecoder": "transformer",
}
PREDICTORS = {
    "CifPredictor": "cif_predictor",
    "CifPredictorV2": "cif_predictor_v2",
    "CifPredictorV3": "cif_predictor_v3",
}
COMPONENTS = {
    "encoder": ENCODERS,
    "encoder2": ENCODERS,
    "decoder": DECODERS,
    "decoder2": DECODERS,
    "seaco_decoder": DECODERS,
    "predictor": PREDICTORS,
    "predictor2": PREDICTORS,
    "frontend": {"WavFrontend": "wav_frontend", "WavFrontendOnline": "wav_frontend"},
    "specaug": {"SpecAug": "specaug", "SpecAugLFR": "specaug_lfr"},
    "stride_conv": {"Conv1dSubsampling": "stride_conv1d", "StrideConv1d": "stride_conv1d"},
    "joint_network": {"JointNetwork": "joint_network"},
}
# Their meaning in 1.x differs from 0.x, or only FunASR's own trainer reads them.
DROPPED = ("dataset", "dataset_conf", "tokenizer", "tokenizer_conf", "train_conf")


def is_1x(config: dict[str, Any]) -> bool:
    """Whether class names, or a block that only 1.x writes, show the 1.x layout."""
    names = (config.get(key) for key in ("model", "encoder", "frontend", "decoder"))
    class_named = any(isinstance(name, str) and (name[:1].isupper() or name in MODELS) for name in names)
    return class_named or "tokenizer" in config


def to_0x(config: dict[str, Any]) -> dict[str, Any]:
    """A 1.x configuration with 0.x names. A name without a 0.x counterpart stays as it is; the registry reports it."""
    converted = {key: value for key, value in config.items() if key not in DROPPED}
    model = config.get("model")
    converted["model"] = MODELS.get(str(model), model)
    for key, names in COMPONENTS.items():
        if isinstance(config.get(key), str):
            converted[key] = names.get(config[key], config[key])
    row = FAMILIES.get(str(converted["model"]))
    if row is not None and row.task == PUNCTUATION:
        _punctuation_to_0x(converted)
    if row is not None and row.task == VAD:
        converted["vad_post_conf"] = converted.pop("model_conf", None) or {}
    if config.get("decoder") in ("rnnt_decoder", "RNNTDecoder"):
        del converted["decoder"]
        converted["rnnt_decoder"] = "rnnt"
        converted["rnnt_decoder_conf"] = converted.pop("decoder_conf", None) or {}
        converted.setdefault("joint_network", "joint_network")
    if "stride_conv_conf" in config:  # 1.x has only one kind and does not name it
        converted.setdefault("stride_conv", "stride_conv1d")
    tokenizer_conf = config.get("tokenizer_conf") or {}
    converted["token_type"] = "bpe" if "entencepiece" in str(config.get("tokenizer")) else "char"
    converted["split_with_space"] = bool(tokenizer_conf.get("split_with_space", False))
    for key in ("token_list", "bpemodel"):
        if tokenizer_conf.get(key):
            converted[key] = tokenizer_conf[key]
    for key, value in (config.get("train_conf") or {}).items():
        converted.setdefault(key, value)
    return converted


def to_1x(config: dict[str, Any], *, is_bpe: bool) -> dict[str, Any]:
    """A 0.x configuration with 1.x names, without its token list: the inverse of :func:`to_0x`.

    Raises:
        UsageError: FunASR 1.x has no class of this family.
    """
    family = str(config.get("model") or "asr")
    row = find_family(family)
    of_encoder = [name for name in row.classes_1x if name.lower() == config.get("encoder")]
    model = next(iter(row.classes_1x if len(row.classes_1x) == 1 else of_encoder), None)
    if model is None or row.search is None or "rnnt_decoder" in config:
        raise UsageError(f"models of family '{family}' have no layout 1.x", hint="pass --layout 0.x")
    converted = {key: value for key, value in config.items() if key not in ("token_list", "token_type")}
    converted["model"] = model
    for key, names in COMPONENTS.items():
        if isinstance(config.get(key), str):
            converted[key] = _class_of(names, config[key]) or config[key]
    converted.pop("split_with_space", None)
    converted["tokenizer"] = "SentencepiecesTokenizer" if is_bpe else "CharTokenizer"
    converted["tokenizer_conf"] = {"unk_symbol": "<unk>", "split_with_space": True}
    return converted


def _class_of(names: dict[str, str], choice: str) -> str | None:
    """The first class of a choice: the one that FunASR 1.4 registers."""
    return next((name for name, known in names.items() if known == choice), None)


def _punctuation_to_0x(config: dict[str, Any]) -> None:
    """1.x spreads ``punctuation_conf`` over ``model_conf`` and ``encoder_conf``."""
    model_conf, encoder_conf = config.pop("model_conf", None) or {}, config.pop("encoder_conf", None) or {}
    config["punctuation"] = "vad_realtime" if config.pop("encoder", None) == "sanm_vad" else "target_delay"
    config["punc_list"] = model_conf.get("punc_list")
    kept = {"ignore_id": -1, "punc_weight": None, **model_conf}
    config["model_conf"] = {key: kept[key] for key in ("ignore_id", "punc_weight") if kept[key] is not None}
    conf = {key: model_conf[key] for key in ("embed_unit", "att_unit", "dropout_rate") if key in model_conf}
    names = {"attention_heads": "head", "linear_units": "unit", "num_blocks": "layer"}
    names |= {key: key for key in ("kernel_size", "sanm_shfit")}
    conf |= {name: encoder_conf[key] for key, name in names.items() if key in encoder_conf}
    config["punctuation_conf"] = conf
