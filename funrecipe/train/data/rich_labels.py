"""What SenseVoice is trained to predict besides the text: language, emotion, event, and how the text is written.

They come from tags at the beginning of a text (``<|zh|><|HAPPY|>...``, as in FunASR's lists), from the files
``utt2lang``, ``utt2emotion`` and ``utt2event`` of the data directory (``ID NAME``), or from members of a tar shard.
Labels not given are not trained.
Whether a text has punctuation and digits is read off the text itself.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from funrecipe.data.list_file import Problem, read_unique_lines
from funrecipe.errors import DataError, count, list_problems
from funrecipe.families import find_family
from funrecipe.model_folder import ModelFolder
from funrecipe.text.rich import EMOTIONS, EVENTS, ITN, LANGUAGES, OTHER_EVENTS, UNKNOWN_EMOTION
from funrecipe.text.units import is_mark
from funrecipe.train.objectives.losses import IGNORE_ID

log = logging.getLogger(__name__)

# In the order of the model's positions: what is told, its names, the file that may state it.
SLOTS: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("language", LANGUAGES, "utt2lang"),
    ("emotion", (*EMOTIONS, UNKNOWN_EMOTION), "utt2emotion"),
    ("event", (*EVENTS, *OTHER_EVENTS), "utt2event"),
    ("normalization", ITN, None),
)
# Members of a tar shard that state them for ``KEY.txt``: KEY.lang, KEY.emotion, KEY.event.
LABEL_MEMBERS = {f".{file.removeprefix('utt2')}": names for _, names, file in SLOTS if file}
_FIRST_TAG = re.compile(r"\s*<\|([^|]*)\|>\s*")


class RichLabels:
    """Callable ``(key, text) -> (label ids, text without its tags)``; -1 for a label that nobody states.

    Args:
        tokens: the vocabulary; stated: per slot, name by utterance.
    """

    def __init__(self, tokens: Sequence[str], stated: Sequence[Mapping[str, str]]) -> None:
        ids = {token: number for number, token in enumerate(tokens)}
        self.ids = [{name: ids[f"<|{name}|>"] for name in names if f"<|{name}|>" in ids} for _, names, _ in SLOTS]
        self.stated = stated
        self.counts: Counter[str] = Counter()

    def __call__(self, key: str, text: str) -> tuple[tuple[int, ...], str]:
        names = [stated.get(key) for stated in self.stated]
        while match := _FIRST_TAG.match(text):
            slot = next((slot for slot, known in enumerate(self.ids) if match[1] in known), None)
            if slot is None:
                break
            names[slot], text = match[1], text[match.end() :]
        if names[-1] is None:
            names[-1] = "withitn" if any(is_mark(c) and not c.isspace() or c.isdigit() for c in text) else "woitn"
        self.counts.update(slot[0] for slot, name in zip(SLOTS, names) if name is not None)
        return tuple(self.ids[slot].get(name, IGNORE_ID) for slot, name in enumerate(names)), text

    def report(self, total: int, where: Path) -> None:
        """Log how many of ``total`` texts have each label; a warning where the language is missing."""
        stated = ", ".join(f"{slot} {self.counts[slot]}" for slot, _, _ in SLOTS[:-1])
        log.info("%s: labels of %d texts: %s", where, total, stated)
        if self.counts["language"] < total:
            log.warning("%s: texts without a language do not train language identification: write utt2lang", where)


def rich_labels_of(folder: ModelFolder, data_dir: Path) -> RichLabels | None:
    """The labels of a data directory for a model that tells them; None for other models.

    Raises:
        DataError: a line of a label file that cannot be used; names file and line.
    """
    if not find_family(folder.family).has_rich_labels:
        return None
    labels = RichLabels(folder.tokens, [])
    labels.stated = [
        _read_names(data_dir / file, known) if file else {} for (_, _, file), known in zip(SLOTS, labels.ids)
    ]
    return labels


def _read_names(path: Path, known: Mapping[str, int]) -> dict[str, str]:
    if not path.is_file():
        return {}
    problems: list[Problem] = []
    names = {}
    values, numbers = read_unique_lines(path, problems)
    for (key, value), number in zip(values.items(), numbers, strict=True):
        names[key] = value.strip().removeprefix("<|").removesuffix("|>")
        if names[key] not in known:
            problems.append(Problem(f"'{names[key]}' is not a label of the model", f"{path}:{number}"))
    if errors := [str(problem) for problem in problems if problem.is_error]:
        raise DataError(
            f"{count(len(errors), 'line')} cannot be used\n{list_problems(errors)}",
            where=str(path),
            hint=f"give one of {', '.join(known)}",
        )
    return names
