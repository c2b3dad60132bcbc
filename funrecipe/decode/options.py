"""How a search is asked to work: ``decoding.yaml`` of the model folder, overridden by the flags of a recipe."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from funrecipe.errors import UsageError, did_you_mean

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "bf16", "int8")
RECOGNIZER_KEYS = frozenset({"allow_network", "precision"})  # they concern no search
# What FunASR's command lines write beside the search options; flags say these, not a model.
RUNTIME_KEYS = frozenset({"num_workers", "seed", "log_level", "ngpu", "ncpu", "batch_size", "dtype"})
TEXTS = ("decoding_mode", "search_type", "hotword", "precision", "language", "output")
SWITCHES = ("score_norm", "use_itn", "ban_emo_unk")
OUTPUTS = ("plain", "rich", "emoji")


@dataclass(frozen=True)
class DecodeOptions:
    """Search options; None means that nobody asked, and the family's own default holds.

    Attributes:
        beam_size: hypotheses kept; 1 is greedy.
        nbest: hypotheses returned per utterance.
        ctc_weight, lm_weight, ngram_weight: weights of these scorers in the search. CTC: 0 to 1, and the attention
            decoder counts with the rest; above 1 for Paraformer only, whose parallel decoder always counts with 1.
        penalty: added per token (``length_bonus``).
        maxlenratio, minlenratio: bounds of the output length in encoder frames; 0: no bound of its own.
        token_num_relax, decoding_ind: UniASR.
        decoding_mode: UniASR: ``fast``, ``normal``, ``offline``; CTC/attention: ``joint``, ``ctc_greedy``,
            ``ctc_prefix``; transducer: ``full_utt``, ``simu_chunk``.
        search_type, score_norm: transducer: ``default``, ``tsd``, ``alsd``, ``maes``; order by score per token.
        hotword: a file (one a line), a URL, or words separated by blanks.
        clas_scale: weight of the hot words in a contextual model, 0 to 1.
        language: SenseVoice: ``auto``, ``zh``, ``en``, ``yue``, ``ja``, ``ko`` or ``nospeech``.
        use_itn: SenseVoice: write punctuation and digits.
        ban_emo_unk: SenseVoice: never say that the emotion is unknown.
        output: SenseVoice: texts without tags (``plain``), as the model writes them (``rich``), or with emoji
            (``emoji``).
        precision: ``fp32`` (default), ``bf16`` or ``int8``: how linear layers are multiplied, on CPU only. The other
            two are faster and change results a little; utterances are then computed one at a time.
        allow_network: whether ``hotword`` may be fetched from a URL.
    """

    beam_size: int | None = None
    nbest: int | None = None
    ctc_weight: float | None = None
    lm_weight: float | None = None
    ngram_weight: float | None = None
    penalty: float | None = None
    maxlenratio: float | None = None
    minlenratio: float | None = None
    token_num_relax: int | None = None
    decoding_ind: int | None = None
    decoding_mode: str | None = None
    search_type: str | None = None
    score_norm: bool | None = None
    hotword: str | None = None
    clas_scale: float | None = None
    language: str | None = None
    use_itn: bool | None = None
    ban_emo_unk: bool | None = None
    output: str | None = None
    precision: str | None = None
    allow_network: bool = False

    def __post_init__(self) -> None:
        for name in TEXTS:
            if not isinstance(getattr(self, name), (str, type(None))):
                raise UsageError(f"{name} is {getattr(self, name)!r}", where=name, hint="give a text")
        for name in SWITCHES:
            if getattr(self, name) not in (None, True, False):
                raise UsageError(f"{name} is {getattr(self, name)!r}", where=name, hint="give true or false")
        if self.output is not None and self.output not in OUTPUTS:
            raise UsageError(f"output is {self.output!r}", where="output", hint=f"give one of {', '.join(OUTPUTS)}")
        if self.precision is not None and self.precision not in PRECISIONS:
            hint = f"give one of {', '.join(PRECISIONS)}"
            raise UsageError(f"precision is {self.precision!r}", where="precision", hint=hint)
        for name, kind, low, high in BOUNDS:
            value = getattr(self, name)
            if value is None:
                continue
            numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not numeric or (kind is int and value != int(value)) or not low <= value <= high:
                wanted = f"a{'n integer' if kind is int else ' number'} from {low:g}" + (
                    f" to {high:g}" if high != float("inf") else " up"
                )
                raise UsageError(f"{name} is {value!r}", where=name, hint=f"give {wanted}")
            object.__setattr__(self, name, kind(value))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str) -> DecodeOptions:
        """Options of a ``decoding.yaml``, which may not allow the network.

        Raises:
            UsageError: a key that no search knows, or a value out of range.
        """
        known = {field.name for field in fields(cls)} - {"allow_network"}
        for key in values:
            if key in RUNTIME_KEYS:
                logger.warning("%s: '%s' is no search option and changes nothing here", where, key)
            elif key not in known:
                hint = did_you_mean(key, known) or f"known: {', '.join(sorted(known))}"
                raise UsageError(f"unknown decoding option '{key}'", where=where, hint=hint)
        try:
            return cls(**{key: value for key, value in values.items() if key in known})
        except UsageError as error:
            raise UsageError(error.what, where=where, hint=error.hint) from None

    def over(self, defaults: DecodeOptions) -> DecodeOptions:
        """These options, and those of ``defaults`` where these are not given."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        return replace(defaults, **given)

    def asked_for(self) -> dict[str, Any]:
        """The options that ask for something: given, and not the value that means "do without"."""
        return {
            key: value
            for key, value in asdict(self).items()
            if value is not None and key not in RECOGNIZER_KEYS and value not in NEUTRAL.get(key, ())
        }

    def check_honoured(self, honours: frozenset[str], user: str) -> None:
        """Refuse options that a search would ignore; ``user``: whose search, in words.

        Raises:
            UsageError: names the first such option and what ``user`` honours.
        """
        for key, value in self.asked_for().items():
            if key not in honours:
                raise UsageError(
                    f"{key}={value!r} has no effect on {user}",
                    where=f"--{key} or decoding.yaml",
                    hint=f"leave it out; honoured: {', '.join(sorted(honours)) or 'no search option'}",
                )


INFINITY = float("inf")
BOUNDS: tuple[tuple[str, type, float, float], ...] = (
    ("beam_size", int, 1, INFINITY),
    ("nbest", int, 1, INFINITY),
    ("ctc_weight", float, 0, 10),
    ("lm_weight", float, 0, INFINITY),
    ("ngram_weight", float, 0, INFINITY),
    ("penalty", float, -INFINITY, INFINITY),
    ("maxlenratio", float, -INFINITY, INFINITY),
    ("minlenratio", float, 0, INFINITY),
    ("token_num_relax", int, 0, INFINITY),
    ("decoding_ind", int, 0, INFINITY),
    ("clas_scale", float, 0, 1),
)
# Values that stand in every published decoding.yaml and ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "beam_size": (1,),
    "nbest": (1,),
    "ctc_weight": (0.0,),
    "lm_weight": (0.0,),
    "ngram_weight": (0.0,),
    "penalty": (0.0,),
    "maxlenratio": (0.0,),
    "minlenratio": (0.0,),
    "token_num_relax": (1,),
    "decoding_ind": (0,),
    "decoding_mode": ("normal",),
    "search_type": ("default",),
    "score_norm": (False,),
    "hotword": ("",),
    "clas_scale": (1.0,),
    "language": ("auto",),
    "use_itn": (False,),
    "ban_emo_unk": (False,),
    "output": ("plain",),
}
