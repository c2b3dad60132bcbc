"""The ``speechio`` normalization: the published SpeechIO tool, step for step, each step with its own flag.

Two generations are in use. The *newest* one (SpeechColab/Leaderboard ``utils/textnorm_zh.py``, 678f55a, 2025-03-29)
computes the leaderboard; the *funasr2023* copy computed the figures that FunASR published in 2023: it always removes
fillers and erhua unless told otherwise, does not convert full-width characters, and leaves ``《 〈 〉 ·`` in the text.
"""

from __future__ import annotations

import re
import string
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from funrecipe.errors import UsageError
from funrecipe.text.normalize.speechio_numbers import rewrite_numbers

_FULLWIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_FILLERS = str.maketrans("", "", "呃啊")

_PUNCTUATION_2023 = (
    string.punctuation
    + "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛"
    + "〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏"
)
_TO_SPACE_2023 = str.maketrans(dict.fromkeys(_PUNCTUATION_2023, " "))
_TO_SPACE = str.maketrans(dict.fromkeys(_PUNCTUATION_2023 + "《〈〉·", " "))

# Words that keep their 儿; every other 儿 is dropped.
_WORDS_WITH_ER = (
    "儿女|儿子|儿孙|女儿|儿媳|妻儿|胎儿|婴儿|新生儿|婴幼儿|幼儿|少儿|小儿|儿歌|儿童|儿科|托儿所|孤儿|儿戏|儿化|台儿庄|"
    "鹿儿岛|正儿八经|吊儿郎当|生儿育女|托儿带女|养儿防老|痴儿呆女|佳儿佳妇|儿怜兽扰|儿无常父|儿不嫌母丑|"
    "儿行千里母担忧|儿大不由爷|苏乞儿"
)
_ER = re.compile(f"({_WORDS_WITH_ER})|儿")

_PLAIN = re.compile("[^\x00-\u4dff呃啊儿\ua000-\U0010ffff]*")  # hanzi, which no step changes
_EXTRA_CHARS = "吶诶屌囧飚屄"
_NOT_BETWEEN_ALPHANUMERICS = re.compile("(?<![0-9A-Za-z]) | (?![0-9A-Za-z])")


@dataclass(frozen=True)
class SpeechioFlags:
    """The tool's own options, with its own names. If both cases are set: upper, then lower."""

    to_banjiao: bool = False
    to_upper: bool = False
    to_lower: bool = False
    remove_fillers: bool = False
    remove_erhua: bool = False
    check_chars: bool = False
    remove_space: bool = False
    cc_mode: str = ""
    funasr2023: bool = False


LEADERBOARD = SpeechioFlags(to_upper=True, to_banjiao=True, remove_fillers=True, remove_erhua=True)
FUNASR_2023 = SpeechioFlags(to_upper=True, remove_fillers=True, remove_erhua=True, funasr2023=True)


@lru_cache(maxsize=1)
def _allowed_chars() -> frozenset[str]:
    lines = resources.files(__package__).joinpath("hanzi_8105.txt").read_text(encoding="utf-8").splitlines()
    hanzi = "".join(line for line in lines if not line.startswith("#"))
    return frozenset(hanzi + _EXTRA_CHARS + string.ascii_letters + string.digits + " ")


@lru_cache(maxsize=2)
def _load_opencc(cc_mode: str) -> Callable[[str], str]:
    try:
        from opencc import OpenCC
    except ImportError as error:
        raise UsageError(f"--cc_mode={cc_mode} needs OpenCC", hint="pip install opencc") from error
    return OpenCC(cc_mode).convert


def normalize(text: str, flags: SpeechioFlags) -> str:
    """``text`` as the tool prints it, spaces at both ends included (punctuation becomes a space)."""
    if _PLAIN.fullmatch(text) and not flags.cc_mode and not flags.check_chars:
        return text
    if flags.cc_mode:
        text = _load_opencc(flags.cc_mode)(text)
    if flags.to_banjiao:
        text = text.translate(_FULLWIDTH)
    if flags.to_upper:
        text = text.upper()
    if flags.to_lower:
        text = text.lower()
    if flags.remove_fillers:
        text = text.translate(_FILLERS)
    if flags.remove_erhua and "儿" in text:
        text = _ER.sub(lambda match: match[1] or "", text)
    text = rewrite_numbers(text)
    text = text.translate(_TO_SPACE_2023 if flags.funasr2023 else _TO_SPACE)
    if flags.check_chars and (illegal := next((c for c in text if c not in _allowed_chars()), None)):
        print(f"WARNING: illegal char {illegal} in: {text}", file=sys.stderr)
        return ""
    if flags.remove_space:
        text = _NOT_BETWEEN_ALPHANUMERICS.sub("", " ".join(text.split()))
    return text
