"""Words and marks -> text, by the rules of three versions of FunASR.

``0.7``  Chinese marks everywhere; the text ends with 。 or ？.
``0.8``  after an ASCII word ``, . ?``; a capital letter after 。 and ？; a space before an ASCII word that begins a
         piece; a text that ends with an ASCII word gets ``.``, one that ends with a Chinese character stays so.
``1.4``  as 0.8, and the last of these gets 。, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from funrecipe.errors import UsageError
from funrecipe.punctuation.words import is_latin

RULES = ("0.7", "0.8", "1.4")
DEFAULT_RULES = "0.7"
NO_MARK = "_"
PERIOD, QUESTION, COMMA = "。", "？", "，"
SENTENCE_ENDS = (PERIOD, QUESTION)
WRITTEN = {",": COMMA, "?": QUESTION}  # how some models write them
HALF_WIDTH = {COMMA: ",", PERIOD: ".", QUESTION: "?"}


def mark_names(marks: Sequence[str]) -> list[str]:
    """The marks of a ``punc_list``, full width."""
    return [WRITTEN.get(mark, mark) for mark in marks]


def check_rules(rules: str) -> None:
    """Raise a UsageError unless ``rules`` is one of ``RULES``."""
    if rules not in RULES:
        raise UsageError(f"unknown text rules '{rules}'", where="text_rules", hint=f"give one of {', '.join(RULES)}")


def render_piece(words: Sequence[str], marks: Sequence[str], rules: str) -> str:
    """The text of one piece of a text, which ends with a sentence or is the last."""
    english = rules != "0.7"
    parts = []
    for i, (word, mark) in enumerate(zip(words, marks, strict=True)):
        if is_latin(word):
            if english and (i == 0 or marks[i - 1] in SENTENCE_ENDS):
                word = word.capitalize()
            if is_latin(words[i - 1]) if i else english:
                word = " " + word
            if english:
                mark = HALF_WIDTH.get(mark, mark)
        parts.append(word if mark == NO_MARK else word + mark)
    return "".join(parts)


def end_text(text: str, rules: str) -> str:
    """``text`` with the end that the rules want; not empty."""
    last = text[-1]
    if last in (COMMA, "、"):
        return text[:-1] + PERIOD
    if rules == "0.7":
        return text if last in SENTENCE_ENDS else text + PERIOD
    if last == ",":
        return text[:-1] + "."
    if last.isascii():
        return text if last in ".?" else text + "."
    return text if rules == "0.8" or last in SENTENCE_ENDS else text + PERIOD
