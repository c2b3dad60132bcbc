"""Rich text: the tags that SenseVoice writes around its text (language, emotion, event), kept, drawn or removed.

Source of the rules: ``funasr.utils.postprocess_utils.rich_transcription_postprocess`` (1.4.16), whose output
:func:`draw_tags` gives.
"""

from __future__ import annotations

import re

LANGUAGES = ("zh", "en", "yue", "ja", "ko", "nospeech")
# Marks drawn for a tag, in the order in which ties are decided; "" is drawn for what is usual.
EMOTIONS = {
    "HAPPY": "😊", "SAD": "😔", "ANGRY": "😡", "NEUTRAL": "", "FEARFUL": "😰", "DISGUSTED": "🤢", "SURPRISED": "😮",
}  # fmt: skip
EVENTS = {
    "BGM": "🎼", "Speech": "", "Applause": "👏", "Laughter": "😀", "Cry": "😭", "Sneeze": "🤧", "Breath": "",
    "Cough": "🤧",
}  # fmt: skip
UNKNOWN_EMOTION = "EMO_UNKNOWN"
OTHER_EVENTS = ("Sing", "Speech_Noise", "GBG", "Event_UNK")
ITN = ("withitn", "woitn")
NOT_DRAWN = (UNKNOWN_EMOTION, *OTHER_EVENTS, *ITN)


EMOTION_MARKS = frozenset(mark for mark in EMOTIONS.values() if mark)
EVENT_MARKS = frozenset(mark for mark in EVENTS.values() if mark) | {"😷"}
NO_SPEECH = "❓"

_TAG = re.compile(r"<\|(.*?)\|>")
_NAMES = frozenset({*LANGUAGES, *EMOTIONS, *EVENTS, *NOT_DRAWN})
_LANGUAGE_TAG = re.compile(r"<\|(?:" + "|".join(LANGUAGES) + r")\|>")
# CJK and kana characters and full-width marks stand alone in a text list; Hangul is written in words.
_CJK = (
    r"[\u2e80-\u2fff\u3001-\u312f\u3190-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff65"
    r"\U00020000-\U0003ffff]"
)
_ALONE = re.compile(f"({_CJK})")
_BETWEEN = re.compile(rf"(?<={_CJK})\s+(?={_CJK})")


def tag_name(token: str) -> str | None:
    """``zh`` for ``<|zh|>``; None for what is not a tag."""
    match = _TAG.fullmatch(token)
    return match[1] if match else None


def strip_tags(text: str) -> str:
    """``text`` without the tags of a SenseVoice vocabulary; others stay."""
    return " ".join(_TAG.sub(lambda tag: "" if tag[1] in _NAMES else tag[0], text).split())


def spaced(text: str) -> str:
    """``text`` as a text list has it: a space around every CJK character, single spaces elsewhere."""
    return " ".join(_ALONE.sub(r" \1 ", text).split())


def unspaced(text: str) -> str:
    """``text`` without the spaces between CJK characters that text lists have."""
    return _BETWEEN.sub("", text.strip())


def draw_tags(text: str) -> str:
    """Tags as marks: events before a part, its emotion after it; a part begins at every language tag.

    Repeated marks of neighboring parts are drawn once, by FunASR's rule: an event that the part before shows is left
    out, so a third one in a row shows again.
    """
    text = text.replace("<|nospeech|><|Event_UNK|>", NO_SPEECH)
    parts = [_draw_part(part) for part in _LANGUAGE_TAG.split(text)]
    joined, shown = " " + parts[0], None
    for part in parts[1:]:
        if not part:
            continue
        if part[0] in EVENT_MARKS and part[0] == shown:
            part = part[1:]
        shown = part[0] if part and part[0] in EVENT_MARKS else None
        if part and part[-1] in EMOTION_MARKS and joined[-1] == part[-1]:
            joined = joined[:-1]
        joined += part.strip()
    return joined.replace("The.", " ").strip()


def _draw_part(text: str) -> str:
    counts = {name: text.count(f"<|{name}|>") for name in _NAMES}
    text = _TAG.sub(lambda tag: "" if tag[1] in _NAMES else tag[0], text)
    emotion = "NEUTRAL"
    for name in EMOTIONS:
        if counts[name] > counts[emotion]:
            emotion = name
    for name, mark in EVENTS.items():
        if counts[name]:
            text = mark + text
    text += EMOTIONS[emotion]
    for mark in EMOTION_MARKS | EVENT_MARKS:
        text = text.replace(f" {mark}", mark).replace(f"{mark} ", mark)
    return text.strip(" ")
