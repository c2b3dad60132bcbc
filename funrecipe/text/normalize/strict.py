"""The ``strict`` normalization: text as it is spoken in Mandarin, one canonical spelling, invariant to spacing.

The order is: width, compatibility and simplified forms → spaces joined → numbers (one pass of one compiled pattern, see
``_RULES``) → punctuation and symbols out → upper case → spaces only between Latin words → fillers, erhua, variants.
The result holds only letters, hanzi, single spaces between Latin words, and apostrophes inside them, so that
normalizing it again changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from funrecipe.text.normalize import strict_codes as codes
from funrecipe.text.normalize import strict_dates as dates
from funrecipe.text.normalize import strict_quantities as quantities
from funrecipe.text.normalize import strict_ranges as ranges
from funrecipe.text.normalize import strict_signs as signs
from funrecipe.text.normalize.strict_english import expand_contractions, is_english, read_english_numbers
from funrecipe.text.normalize.strict_forms import SIMPLIFIED, join_spaces, keep_letters, unify_forms
from funrecipe.text.normalize.strict_words import normalize_words

Reader = Callable[[re.Match[str]], str]

# At each place the first matching pattern wins. The outer group of each has the name used here.
_RULES: list[tuple[str, str, Reader]] = [
    ("web", codes.WEB, codes.read_web),
    ("phone", codes.PHONE, codes.read_phone),
    ("season", ranges.SEASON, ranges.read_season),
    ("md1", dates.MD_CLOCK, dates.read_md1),
    ("counted", ranges.COUNTED_RANGE, ranges.read_counted_range),
    ("chain", ranges.DIGIT_CHAIN, ranges.read_digit_chain),
    ("listed", ranges.ENUMERATED, ranges.read_enumerated),
    ("ymd", dates.YMD, dates.read_ymd),
    ("dmy", dates.DMY, dates.read_dmy),
    ("ym", dates.YM, dates.read_ym),
    ("md", dates.MD, dates.read_md),
    ("md0", dates.MD_PADDED, dates.read_md0),
    ("era", dates.ERA, dates.read_era),
    ("year", dates.YEAR, dates.read_year_match),
    ("decade", dates.DECADE, dates.read_decade),
    ("month", dates.MONTH, dates.read_month),
    ("day", dates.DAY, dates.read_day),
    ("time", dates.TIME, quantities.read_clock),
    ("hour", dates.HOUR, dates.read_hour),
    ("to", codes.LETTER_TO_LETTER, codes.read_letter_to_letter),
    ("dotted", codes.DOTTED, codes.read_dotted),
    ("named", codes.NAMED_DAY, codes.read_named_day),
    ("angle", quantities.ANGLE, quantities.read_angle),
    ("split", quantities.SPLIT_UNIT, quantities.read_split_unit),
    ("hours", quantities.HOURS_MINUTES, quantities.read_hours_minutes),
    ("minutes", quantities.MINUTES, quantities.read_minutes),
    ("resolution", quantities.RESOLUTION, quantities.read_resolution),
    ("ratio", quantities.RATIO, quantities.read_ratio),
    ("money", quantities.MONEY, quantities.read_money),
    ("paid", quantities.MONEY_AFTER, quantities.read_money_after),
    ("percent", quantities.PERCENT, quantities.read_percent),
    ("fraction", quantities.FRACTION, quantities.read_fraction),
    ("rate", quantities.RATE, quantities.read_rate),
    ("wan", quantities.TEN_THOUSANDS, quantities.read_ten_thousands),
    ("kilo", quantities.THOUSANDS, quantities.read_thousands),
    ("ordinal", quantities.ORDINAL, quantities.read_ordinal),
    ("measure", quantities.MEASURE, quantities.read_measure),
    ("game", quantities.GAME, quantities.read_game),
    ("range", quantities.RANGE, lambda _: "到"),
    ("operator", quantities.OPERATOR, quantities.read_operator),
    ("compare", signs.COMPARISON, lambda m: signs.COMPARISONS[m["compare"]]),
    ("operation", signs.OPERATION, signs.read_operation),
    ("sign", quantities.SIGN, quantities.read_sign),
    ("power", quantities.POWER, quantities.read_power),
    ("plus", quantities.PLUS, lambda _: "加"),
    ("root", quantities.ROOT, lambda _: "根号"),
    ("plain", codes.PLAIN, codes.read_plain),
]
_READERS: dict[str, Reader] = {name: reader for name, _, reader in _RULES}
_NUMBERS = re.compile("(?=[^一-鿿])(?:" + "|".join(pattern for _, pattern, _ in _RULES) + ")")

_PLAIN = re.compile("[一-鿿，。！？、；：]*")
_PLAIN_FORMS = SIMPLIFIED | dict.fromkeys(map(ord, "，。！？、；："), "")
_NUMBER_OR_SIGN = re.compile("[0-9²³√±×÷≈≠≤≥<>=@+]|www")
_HANZI = re.compile("[一-鿿]")
_DIGIT = re.compile("[0-9]")


def _read(match: re.Match[str]) -> str:
    # lastgroup is the group that closed last: the outer one of the alternative that matched.
    return _READERS[match.lastgroup or ""](match)


def normalize(text: str) -> str:
    """The canonical spoken form of ``text``; an empty string if it has only fillers and punctuation."""
    if _PLAIN.fullmatch(text):
        return normalize_words(text.translate(_PLAIN_FORMS))
    text = unify_forms(text)
    if not _HANZI.search(text) and _DIGIT.search(text) and is_english(text):
        text = read_english_numbers(text)
    text = join_spaces(text)
    if _NUMBER_OR_SIGN.search(text):
        text = _NUMBERS.sub(_read, signs.drop_brackets(text))
    text = keep_letters(text)
    if "'" in text:
        text = expand_contractions(text)
    return normalize_words(text)
