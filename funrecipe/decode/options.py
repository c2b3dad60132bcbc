"""The options of a search: ``decoding.yaml`` of the model folder, overridden by the flags of a recipe.

The fields of :class:`DecodeOptions` are the only table of decode options: type, range, neutral value and help. The
command line, the recipes (``utils/decode_options.sh``) and the checks derive from it; which families use an option
is in ``funrecipe/families.py``.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from funrecipe.errors import UsageError, unknown_name
from funrecipe.families import FAMILIES, find_family, names_with
from funrecipe.ranges import ANY, AT_LEAST_ONE, COUNT, NOT_NEGATIVE, SHARE, Range

if TYPE_CHECKING:
    from funrecipe.model_folder import ModelFolder

logger = logging.getLogger(__name__)

DEFAULT_MAX_PIECE_S = 30.0
# Options that FunASR's command lines write next to those of the search; flags set these, not a model.
RUNTIME_KEYS = frozenset({"num_workers", "seed", "log_level", "ngpu", "ncpu", "batch_size", "dtype"})


@dataclass(frozen=True)
class Option:
    """One row of the table.

    Attributes:
        kind: ``int``, ``float``, ``str`` or ``bool``.
        help: for ``--help``.
        range: of a number.
        choices: the values of a text, where they are few.
        neutral: values found in every published ``decoding.yaml`` that request nothing.
        flag: the name on the command line, where it differs.
        is_for_search: False for what does not concern a search (precision, pieces).
    """

    kind: type
    help: str
    range: Range = ANY
    choices: tuple[str, ...] = ()
    neutral: tuple[Any, ...] = ()
    flag: str | None = None
    is_for_search: bool = True

    def check(self, name: str, value: Any) -> Any:
        """``value`` as ``kind``. Raises UsageError."""
        if self.kind is bool:
            is_right, wanted = isinstance(value, bool), "true or false"
        elif self.kind is str:
            is_right = isinstance(value, str) and (not self.choices or value in self.choices)
            wanted = f"one of {', '.join(self.choices)}" if self.choices else "a string"
        else:
            is_right, wanted = self.range.has(value), str(self.range)
        if not is_right:
            raise UsageError(f"{name} is {value!r}", where=name, hint=f"give {wanted}")
        return self.kind(value)


def _option(kind: type, help: str, **row: Any) -> Any:
    return field(default=None, metadata={"row": Option(kind, help, **row)})


def _number(allowed: Range, help: str, **row: Any) -> Any:
    return _option(int if allowed.is_whole else float, help, range=allowed, **row)


@dataclass(frozen=True)
class DecodeOptions:
    """Search options; None means not set: the family's default applies.

    ``ctc_weight``: 0 to 1, the attention decoder gets the rest; above 1 for Paraformer only, whose parallel
    decoder always counts with 1. ``precision``: how linear layers are multiplied; less than fp32 is faster and changes
    results a little, and on the CPU utterances are then computed one at a time. ``allow_network``: whether
    ``hotword`` may be fetched from a URL.
    """

    beam_size: int | None = _number(AT_LEAST_ONE, "hypotheses kept by the search; 1: greedy", neutral=(1,))
    nbest: int | None = _number(AT_LEAST_ONE, "hypotheses returned per utterance", neutral=(1,))
    ctc_weight: float | None = _number(Range(0, 10), "weight of the CTC scores in the search", neutral=(0.0,))
    lm_weight: float | None = _number(NOT_NEGATIVE, "weight of the language model in the search", neutral=(0.0,))
    ngram_weight: float | None = _number(NOT_NEGATIVE, "weight of the model folder's n-grams", neutral=(0.0,))
    penalty: float | None = _number(ANY, "score added per token", neutral=(0.0,))
    maxlenratio: float | None = _number(ANY, "longest hypothesis, as a share of the encoder frames", neutral=(0.0,))
    minlenratio: float | None = _number(
        NOT_NEGATIVE,
        "shortest hypothesis, as a share of the encoder frames (Paraformer: of the predicted tokens)",
        neutral=(0.0,),
    )
    token_num_relax: int | None = _number(
        COUNT, "number of tokens that a hypothesis may have beyond those predicted", neutral=(1,)
    )
    decoding_ind: int | None = _number(COUNT, "index of the chunk shape of a streaming or two-pass model", neutral=(0,))
    decoding_mode: str | None = _option(
        str,
        "UniASR: fast, normal, offline; asr: joint, ctc_greedy, ctc_prefix; rnnt: full_utt, simu_chunk",
        neutral=("normal",),
    )
    search_type: str | None = _option(
        str, "search of a transducer", choices=("default", "tsd", "alsd", "maes"), neutral=("default",)
    )
    score_norm: bool | None = _option(bool, "order transducer hypotheses by score per token", neutral=(False,))
    hotword: str | None = _option(
        str, "file of hotwords, one per line, or the words separated by spaces", neutral=("",), flag="hotword_txt"
    )
    clas_scale: float | None = _number(SHARE, "weight of the hotwords in a contextual model", neutral=(1.0,))
    language: str | None = _option(
        str,
        "spoken language",
        choices=("auto", "zh", "en", "yue", "ja", "ko", "nospeech"),
        neutral=("auto",),
    )
    use_itn: bool | None = _option(bool, "write punctuation and digits", neutral=(False,))
    ban_emo_unk: bool | None = _option(bool, "never report an unknown emotion", neutral=(False,))
    output: str | None = _option(
        str,
        "text without tags (plain), as the model writes it (rich) or with emoji",
        choices=("plain", "rich", "emoji"),
        neutral=("plain",),
    )
    timestamp: bool | None = _option(bool, "give the time of every token, by the CTC head", neutral=(False,))
    # Without a neutral value: true and false both need a speaker model.
    windows: bool | None = _option(bool, "embed windows of 1.5 s of each utterance, for diarization")
    engine: str | None = _option(
        str,
        "run the network with torch, or onnx (onnxruntime, for a folder made by funrecipe export)",
        choices=("torch", "onnx"),
        is_for_search=False,
    )
    precision: str | None = _option(
        str,
        "fp32; faster, almost the same: bf16, fp16 or int8 (CPU only), tf32 (GPU only); auto: bf16 if it changes little"
        " (docs/speed.md)",
        choices=("fp32", "tf32", "bf16", "fp16", "int8", "auto"),
        is_for_search=False,
    )
    max_piece_s: float | None = _number(
        NOT_NEGATIVE,
        f"cut audio longer than this many seconds into pieces; 0: never; not set: {DEFAULT_MAX_PIECE_S:g}",
        is_for_search=False,
    )
    allow_network: bool = False

    def __post_init__(self) -> None:
        for name, row in OPTIONS.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, row.check(name, value))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str) -> DecodeOptions:
        """Options of a ``decoding.yaml``, which may not allow the network.

        Raises:
            UsageError: an unknown key, or a value out of range.
        """
        for key in values:
            if key in RUNTIME_KEYS:
                logger.warning("%s: '%s' is not a search option and has no effect", where, key)
            elif key not in OPTIONS:
                raise unknown_name("unknown decoding option", key, sorted(OPTIONS), where=where)
        try:
            return cls(**{key: value for key, value in values.items() if key in OPTIONS})
        except UsageError as error:
            raise UsageError(error.what, where=where, hint=error.hint) from None

    def over(self, defaults: DecodeOptions) -> DecodeOptions:
        """These options, completed by those of ``defaults``."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        return replace(defaults, **given)

    def asked_for(self) -> dict[str, Any]:
        """The options that request something of a search: set, and not to a neutral value."""
        values = {name: getattr(self, name) for name, row in OPTIONS.items() if row.is_for_search}
        return {name: v for name, v in values.items() if v is not None and v not in OPTIONS[name].neutral}


OPTIONS: dict[str, Option] = {f.name: f.metadata["row"] for f in fields(DecodeOptions) if f.metadata}


def families_using(name: str) -> list[str]:
    """The families that use an option; all that decode, if it does not concern the search."""
    if not OPTIONS[name].is_for_search:
        return names_with("search")
    return sorted(family for family, row in FAMILIES.items() if name in row.options)


def check_weights(folder: ModelFolder, weights: Path | None) -> None:
    """Raise UsageError for a checkpoint in place of an exported model's own graph, which would not be used."""
    if folder.is_exported and weights not in (None, folder.weights):
        hint = "decode with the folder that it was exported from, or export that with the checkpoint"
        raise UsageError(f"{weights} is not for an exported model", where=str(folder.path), hint=hint)


def check_options(options: DecodeOptions, folder: ModelFolder) -> None:
    """Refuse what a model, which may be an exported one, cannot do when it recognizes. For planning, too: no torch.

    Raises:
        UsageError: as :func:`check_supported`, or weights that are not for ``engine``.
    """
    engine = "onnx" if folder.is_exported else "torch"
    if options.engine not in (None, engine):
        hint = "give the folder that it was exported from" if folder.is_exported else "make one with funrecipe export"
        what = f"{folder.weights.name} is not a model for engine {options.engine}"
        raise UsageError(what, where=str(folder.path), hint=hint)
    check_supported(options, folder.family)
    row = folder.row
    for name, value in options.asked_for().items() if folder.is_exported else ():
        if name not in row.export_options:
            raise UsageError(
                f"{name}={value!r} has no effect on an exported model, whose search is greedy",
                where=f"--{name} or decoding.yaml",
                hint="leave it out, or decode with the folder it was exported from",
            )
    if row.beam_scores and not row.beam_scores & options.asked_for().keys():
        _check_without_beam(options)


def _check_without_beam(options: DecodeOptions) -> None:
    """The positions of Paraformer are independent of each other: without other scores a search finds the arg-max.

    Raises:
        UsageError: an option that only has an effect in a beam search.
    """
    hint = "set lm_weight, ngram_weight, ctc_weight or nbest as well, or leave it out"
    for name in ("penalty", "minlenratio"):
        if name in options.asked_for():
            where = f"--{name} or decoding.yaml"
            raise UsageError(f"{name} has no effect without a beam search", where=where, hint=hint)
    if "beam_size" in options.asked_for():
        logger.warning("beam_size=%d has no effect by itself: %s", options.beam_size, hint)


def check_supported(options: DecodeOptions, family: str, *, streaming: bool = False) -> None:
    """Refuse options that a family's search does not use.

    Raises:
        UsageError: names the first such option and what the family uses.
    """
    row = find_family(family)
    used = row.stream_options if streaming else row.options
    for name, value in options.asked_for().items():
        if name not in used:
            user = "a stream of" if streaming else "a model of"
            raise UsageError(
                f"{name}={value!r} has no effect on {user} family '{family}'",
                where=f"--{OPTIONS[name].flag or name} or decoding.yaml",
                hint=f"leave it out; options of this family: {', '.join(sorted(used)) or 'none'}",
            )
    if row.decoding_modes and not streaming:
        decoding_mode_of(options, family)


def decoding_mode_of(options: DecodeOptions, family: str) -> str:
    """The requested ``decoding_mode``, by default the first of the family's row.

    Raises:
        UsageError: an unknown mode, or an option that this mode does not use.
    """
    modes = find_family(family).decoding_modes
    first = next(iter(modes))
    mode = options.decoding_mode if options.decoding_mode not in (None, "normal") else first
    if mode not in modes:
        raise unknown_name("unknown decoding_mode", mode, modes, where="--decoding_mode or decoding.yaml")
    every = frozenset[str]().union(*modes.values())
    for name in sorted(every - modes[mode]):
        if name in options.asked_for():
            users = ", ".join(known for known, names in modes.items() if name in names)
            raise UsageError(
                f"{name} has no effect with decoding_mode '{mode}'",
                where=f"--{name} or decoding.yaml",
                hint=f"leave it out, or use decoding_mode {users}",
            )
    return mode


def add_option_arguments(parser: argparse.ArgumentParser) -> None:
    """A flag for every option; without it, ``decoding.yaml`` applies."""
    group = parser.add_argument_group("decoding (defaults: the model's decoding.yaml)")
    for name, row in OPTIONS.items():
        flag = f"--{row.flag or name}"
        if row.kind is bool:
            group.add_argument(flag, dest=name, choices=("true", "false"), help=help_of(name))
        else:
            group.add_argument(flag, dest=name, type=row.kind, choices=row.choices or None, help=help_of(name))


def options_given(args: argparse.Namespace) -> DecodeOptions:
    """The options of the command line. Raises UsageError."""
    values = {name: getattr(args, name) for name in OPTIONS}
    return DecodeOptions(**{name: v == "true" if OPTIONS[name].kind is bool and v else v for name, v in values.items()})


def help_of(name: str) -> str:
    """The help of an option, with the families that use it where not all do."""
    users, decoding = families_using(name), names_with("search")
    others = [family for family in decoding if family not in users]
    note = f"; only {', '.join(users)}" if len(users) <= len(others) else f"; not {', '.join(others)}" if others else ""
    return OPTIONS[name].help + note
