"""Detect recordings paired with the wrong transcript, by duration and by decoding a sample with the base model."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from funrecipe.errors import DataError
from funrecipe.model_folder import ModelFolder
from funrecipe.train.data.batching import Example, collate
from funrecipe.train.data.dataset import TrainItem
from funrecipe.train.data.featurizer import Featurizer
from funrecipe.train.data.plan import frontend_of
from funrecipe.train.measures import transcriber

log = logging.getLogger(__name__)
MIN_UTTERANCES = 20  # with fewer, chance cannot be excluded
WANTED_CORRELATION = 0.4  # of duration and number of tokens: read speech 0.8 and more, chance below 2 / sqrt(n)
DECODED_UTTERANCES = 32  # by the base model
COMPARED_TEXTS = 2000  # that each hypothesis is compared with
CHANCE_RANK = 0.25  # own texts that rank worse than this fit only by chance


def length_warning(items: Sequence[TrainItem]) -> str | None:
    """A warning if durations do not grow with the lengths of the texts; None if they do or if one cannot tell."""
    if len(items) < MIN_UTTERANCES or not items[0].text or items[0].kind == "text":
        return None
    tokens = np.array([float(len(item.text)) for item in items])
    durations = np.array([item.duration_ms for item in items])
    if min(x.std() / x.mean() for x in (tokens, durations)) < 0.15:
        return None
    correlation = float(np.corrcoef(tokens, durations)[0, 1])
    if correlation >= WANTED_CORRELATION:
        return None
    return (
        f"durations and text lengths do not agree (correlation {correlation:.2f} over {len(items)} utterances; "
        "speech with its own texts has 0.8): are the texts those of other recordings?"
    )


@dataclass(frozen=True)
class Comparison:
    """How hypotheses fit the texts.

    Attributes:
        pairs: ``(key, other key)`` where the hypothesis matches the text of another utterance better than its own.
        by_chance: the number of such pairs if the tokens are shuffled: what a tiny vocabulary or a useless model gives.
        own_rank: mean share of other texts that are closer than its own; 0: its own is closest, 0.5: chance.
    """

    pairs: list[tuple[str, str]]
    by_chance: int
    own_rank: float


def compare_with_texts(hypotheses: Mapping[str, Sequence[int]], texts: Mapping[str, Sequence[int]]) -> Comparison:
    """Edit distances of each hypothesis to its own text and to those of all others."""
    pairs, by_chance, ranks = [], 0, []
    chooser = random.Random(0)
    for key, heard in hypotheses.items():
        if len(heard) < 3:
            continue
        others = {k: Levenshtein.normalized_distance(heard, text) for k, text in texts.items() if k != key}
        own = Levenshtein.normalized_distance(heard, texts[key])
        ranks.append(sum((d < own) + 0.5 * (d == own) for d in others.values()) / len(others))
        if (other := nearest_other(key, heard, texts)) is not None:
            pairs.append((key, other))
        by_chance += nearest_other(key, chooser.sample(heard, len(heard)), texts) is not None
    return Comparison(pairs, by_chance, sum(ranks) / len(ranks) if ranks else 0.0)


def nearest_other(key: str, heard: Sequence[int], texts: Mapping[str, Sequence[int]]) -> str | None:
    """The utterance whose text ``heard`` matches instead of its own, if any.

    It shares at least half of that text, and needs at most 0.7 of the edits that its own text needs.
    """
    other = min((k for k in texts if k != key), key=lambda k: Levenshtein.distance(heard, texts[k]))
    distance = Levenshtein.distance(heard, texts[other])
    is_heard = distance <= 0.5 * len(texts[other]) and distance <= 0.7 * Levenshtein.distance(heard, texts[key])
    return other if is_heard else None


@torch.inference_mode()
def decode_sample(model: torch.nn.Module, folder: ModelFolder, items: Sequence[TrainItem]) -> dict[str, list[int]]:
    """Greedy hypotheses, in batches of eight utterances of similar length."""
    transcribe = transcriber(folder)
    assert transcribe is not None
    featurize = Featurizer(frontend_of(folder), folder.sample_rate_hz)
    model.eval()
    heard: dict[str, list[int]] = {}
    ordered = sorted(items, key=lambda item: item.duration_ms)
    for start in range(0, len(ordered), 8):
        examples = []
        for item in ordered[start : start + 8]:
            with contextlib.suppress(DataError):  # of streamed data, which training reports
                examples.append(Example(item.key, featurize(item, None), list(item.text)))
        if examples:
            batch = collate(examples)
            heard.update(zip(batch.keys, transcribe(model, batch)))
    return heard


def check_pairing(
    model: torch.nn.Module, folder: ModelFolder, items: Sequence[TrainItem], max_bad_share: float, where: Path
) -> None:
    """Decode some utterances with the base model, and warn of those whose text seems to be another one's.

    Raises:
        DataError: these are more than ``max_bad_share``, and their own texts fit no better than any others.
    """
    if transcriber(folder) is None or len(items) < MIN_UTTERANCES:
        return
    chosen = items[:: max(1, len(items) // DECODED_UTTERANCES)][:DECODED_UTTERANCES]
    compared = (*items[:: max(1, len(items) // COMPARED_TEXTS)], *chosen)
    found = compare_with_texts(decode_sample(model, folder, chosen), {item.key: item.text for item in compared})
    beyond_chance = len(found.pairs) - found.by_chance
    if beyond_chance < 2:
        return
    examples = ", ".join(f"{key} has the text of {other}" for key, other in found.pairs[:3])
    said = (
        f"of {len(chosen)} utterances that the base model decoded, {len(found.pairs)} match another utterance's "
        f"transcript better than their own: {examples}"
    )
    if beyond_chance / len(chosen) > max_bad_share and found.own_rank > CHANCE_RANK:
        raise DataError(
            said,
            where=str(where),
            hint="check that wav.scp and text belong together, or train anyway with --max_bad_share 1",
        )
    log.warning("%s: %s", where, said)
