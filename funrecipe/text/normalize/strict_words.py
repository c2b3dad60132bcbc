"""Words of Mandarin that a transcript may write or leave out: fillers, erhua, variant digits."""

from __future__ import annotations

import re

# 儿 that is a syllable of its own. Everything else is erhua or a particle and is dropped on both sides.
_LEXICAL = (
    "(?:女|婴|幼|胎|孤|少|妻|小|健|男|(?<![小男女])孩|宠|弃|患|产|娇|爱|吾|犬|乞|娃|伢|痴|佳|生|托|混血|新生|早产|畸形|低能|弄潮|幸运|流浪|私生|"
    "连体|试管|安琪|模特|正|吊|养|鹿|台|塔|桑)儿(?![化话])"
    "|儿(?:女|子|孙|媳|歌|童|科|戏|化|时|郎|臣|皇|茶|保|研|怜|无常|不嫌|行千里|大不由)"
)
# After these 儿 is erhua even where the next character would make a word of it: 一会|儿时间, 今|儿子夜.
_ER = re.compile(f"(?<=[会点今明昨玩味劲样边事活头])儿|({_LEXICAL})|儿")
_FILLER = re.compile("呃(?!逆)|啊")
_VARIANTS = str.maketrans("〇兩", "零两")
_YAO = re.compile("(?<=[零一二三四五六七八九幺拐洞点])幺|幺(?=[零一二三四五六七八九幺拐洞])")
_RARE = re.compile("[儿呃啊〇兩幺]")


def normalize_words(text: str) -> str:
    """Without fillers (呃 啊) and erhua; 〇 → 零, 幺 among digits → 一. Whole words count: 女儿 and 呃逆 stay."""
    if not _RARE.search(text):
        return text
    text = _FILLER.sub("", text.translate(_VARIANTS))
    while (shorter := _ER.sub(lambda m: m[1] or "", text)) != text:  # a deletion can bring two 儿 together
        text = shorter
    return _YAO.sub("一", text)
