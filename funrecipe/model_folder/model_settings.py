"""The values of ``model_conf``, whose keys a family's row names (``families.py``). Any other key is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funrecipe.errors import UsageError, unknown_name
from funrecipe.families import FAMILIES
from funrecipe.ranges import COUNT, SHARE, Range

# Keys that the classes accept and that have one value here; ``...``: any value, without effect in FunASR, too.
FIXED: dict[str, Any] = {
    **dict.fromkeys(("report_cer", "report_wer", "sym_space", "sym_blank", "extract_feats_in_collect_stats"), ...),
    **dict.fromkeys(("crit_attn_weight", "crit_attn_smooth", "bias_encoder_dropout_rate", "target_buffer_length"), ...),
    **{"sym_sos": "<s>", "sym_eos": "</s>", "blank_id": 0, "sos": 1, "eos": 2, "ignore_id": -1},
    **{"interctc_weight": 0.0, "interctc_weight2": 0.0, "share_embedding": False, "label_bracket": False},
    # Of the older contextual class, which samples hotwords inside the model; here both sample like the newer one.
    **{"batch_rate": ..., "use_1st_decoder_loss": False},
}


def check_model_conf(family: str, conf: Mapping[str, Any], where: str) -> None:
    """Refuse settings that training would not use, where the family's row names those that it uses.

    Args:
        where: the file, or what else they come from, for messages.

    Raises:
        UsageError: a key that the family does not have, or an unsupported value.
    """
    row = FAMILIES.get(family)
    if row is None or row.settings is None:
        return
    fixed = {**FIXED, **row.fixed_settings}
    for name, value in conf.items():
        if name in row.settings:
            check_value(name, value, where)
            continue
        if name not in fixed:
            what = f"model_conf: models of family '{family}' have no setting"
            raise unknown_name(what, name, sorted(row.settings), where=where)
        if fixed[name] is not ... and value != fixed[name]:
            raise UsageError(f"model_conf: {name}: {value!r} is not supported, only {fixed[name]!r}", where=where)
    if conf.get("use_1st_decoder_loss") and conf.get("sampling_ratio") == 0:
        what = "model_conf: use_1st_decoder_loss has no effect without a sampling_ratio above 0"
        raise UsageError(what, where=where, hint="leave use_1st_decoder_loss out, or raise sampling_ratio")


WEIGHT = Range(0, 1e6)  # of a part of a sum; a SHARE is w in "w a + (1 - w) b", or a probability
# Setting -> the numbers, or the type, that its value may have.
ALLOWED: dict[str, Range | type] = {
    **dict.fromkeys(("bias_encoder_type", "decoder_attention_chunk_type", "decoder_attention_chunk_type2"), str),
    **dict.fromkeys(("length_normalized_loss", "seaco_length_normalized_loss", "use_1st_decoder_loss"), bool),
    **dict.fromkeys(("use_decoder_embedding", "train_decoder", "bias_encoder_bid", "enable_maas_finetune"), bool),
    **dict.fromkeys(("freeze_encoder2", "encoder1_encoder2_joint_training"), bool),
    **dict.fromkeys(("ctc_weight", "ctc_weight2", "loss_weight_model1", "sampling_ratio"), SHARE),
    **dict.fromkeys(("lsm_weight", "seaco_lsm_weight", "auxiliary_lm_loss_smoothing"), SHARE),
    **dict.fromkeys(("sample_rate", "double_rate", "auxiliary_ctc_dropout_rate", "bias_encoder_dropout_rate"), SHARE),
    **dict.fromkeys(("predictor_weight", "predictor_weight2", "transducer_weight", "fastemit_lambda"), WEIGHT),
    **dict.fromkeys(("auxiliary_ctc_weight", "auxiliary_att_weight", "auxiliary_lm_loss_weight"), WEIGHT),
    **dict.fromkeys(("seaco_weight", "punc_weight"), WEIGHT),  # punc_weight: one for each mark
    "predictor_bias": Range(0, 1, is_whole=True),
    "NO_BIAS": COUNT,
    "ignore_id": Range(-1, 1e6, is_whole=True),
    **dict.fromkeys(("inner_dim", "min_hw_length", "max_hw_length"), Range(1, 1e6, is_whole=True)),
}
TYPES = {str: "a text", bool: "true or false"}


def check_value(name: str, value: Any, where: str) -> None:
    """Raises UsageError unless ``value`` is one that the setting may have."""
    allowed = ALLOWED[name]
    if value is None:
        return
    if isinstance(allowed, type):
        if not isinstance(value, allowed):
            raise UsageError(f"model_conf: {name} is {value!r:.60}", where=where, hint=f"give {TYPES[allowed]}")
    elif name != "punc_weight":
        allowed.check(f"model_conf: {name}", value, where)
    elif not (isinstance(value, (list, tuple)) and all(map(allowed.has, value))):
        hint = "give a list of numbers, one for each mark of punc_list"
        raise UsageError(f"model_conf: {name} is {value!r:.60}", where=where, hint=hint)


# Setting -> the part of a model that a weight above 0 needs.
HEADS = {
    "ctc_weight": "ctc",
    "ctc_weight2": "ctc2",
    "auxiliary_ctc_weight": "ctc_lin",
    "auxiliary_att_weight": "att_decoder",
    "auxiliary_lm_loss_weight": "lm_lin",
}


def check_heads(model: object, conf: Mapping[str, Any]) -> None:
    """Refuse a weight of a part that the model was built without.

    Raises:
        UsageError: names the setting.
    """
    for name, part in HEADS.items():
        weight = conf.get(name, 0)
        if isinstance(weight, (int, float)) and weight > 0 and getattr(model, part, None) is None:
            raise UsageError(
                f"model_conf: {name} is {weight:g}, but this model has no '{part}'",
                hint=f"its {name} was 0 when it was built; leave it at 0, or train a new model",
            )
