"""Texts of other recordings, under the right keys: seen by their lengths and heard by the base model."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from funrecipe.errors import DataError
from funrecipe.train.data.dataset import TrainItem
from funrecipe.train.data.preflight import inspect_data
from funrecipe.train.distributed import Ranks
from funrecipe.train.options import build_options
from funrecipe.train.pairing import check_pairing, compare_with_texts, length_warning
from funrecipe.train.session import build_trainable, starting_point

QUICKSTART = Path(__file__).parents[2] / "egs" / "quickstart"


def items_of(lengths: list[int], ms_per_token: list[float]) -> list[TrainItem]:
    pairs = zip(lengths, ms_per_token, strict=True)
    return [TrainItem(str(i), "", (3,) * n, n * ms) for i, (n, ms) in enumerate(pairs)]


def test_durations_that_do_not_follow_the_texts_are_said() -> None:
    chooser = random.Random(0)
    lengths = [chooser.randint(4, 25) for _ in range(60)]
    speech = items_of(lengths, [chooser.gauss(220, 40) for _ in lengths])
    assert length_warning(speech) is None
    texts = [item.text for item in speech]
    chooser.shuffle(texts)
    shuffled = [TrainItem(i.key, "", text, i.duration_ms) for i, text in zip(speech, texts)]
    assert "texts those of other recordings" in (length_warning(shuffled) or "")


@pytest.mark.parametrize("lengths", [[5] * 60, [4, 9] * 5])
def test_equal_lengths_or_few_utterances_show_nothing(lengths: list[int]) -> None:
    chooser = random.Random(0)
    assert length_warning(items_of(lengths, [chooser.uniform(50, 900) for _ in lengths])) is None


def sentences(vocabulary: int, length: int, count: int = 40) -> dict[str, list[int]]:
    chooser = random.Random(vocabulary)
    return {f"u{i:02d}": [chooser.randrange(vocabulary) for _ in range(length)] for i in range(count)}


def with_errors(text: list[int], vocabulary: int, share: float, chooser: random.Random) -> list[int]:
    return [chooser.randrange(vocabulary) if chooser.random() < share else token for token in text]


def test_shifted_texts_are_named_with_the_utterance_they_belong_to() -> None:
    texts, chooser = sentences(2000, 12), random.Random(1)
    heard = {key: with_errors(text, 2000, 0.4, chooser) for key, text in texts.items()}
    right = compare_with_texts(heard, texts)
    assert right.pairs == [] and right.own_rank < 0.01
    keys = list(texts)
    shifted = compare_with_texts(heard, dict(zip(keys, [*list(texts.values())[1:], texts[keys[0]]], strict=True)))
    assert len(shifted.pairs) > 20
    assert all(keys.index(other) == (keys.index(key) - 1) % len(keys) for key, other in shifted.pairs)
    assert shifted.own_rank > 0.4


def test_a_tiny_vocabulary_and_a_deaf_model_are_no_evidence() -> None:
    texts, chooser = sentences(4, 5), random.Random(2)
    deaf = {key: with_errors(text, 4, 1.0, chooser) for key, text in texts.items()}
    found = compare_with_texts(deaf, texts)
    assert abs(len(found.pairs) - found.by_chance) <= 6
    babble = compare_with_texts({key: [3] * 5 for key in texts}, texts)
    assert len(babble.pairs) == babble.by_chance


def test_the_base_model_finds_texts_that_were_moved(tmp_path: Path) -> None:
    """Real speech and a model that understands some of it; durations alone would let a shift by one pass."""
    data = tmp_path / "data"
    for name in ("train", "validation"):
        (data / name).mkdir(parents=True)
        wavs = (QUICKSTART / "data" / "wav.scp").read_text("utf-8").replace(" wav/", f" {QUICKSTART}/data/wav/")
        (data / name / "wav.scp").write_text(wavs, "utf-8")
        (data / name / "text").write_text((QUICKSTART / "data" / "text").read_text("utf-8"), "utf-8")
    flags = {"model": str(QUICKSTART / "model"), "data_dir": str(data), "output_dir": str(tmp_path / "out")}
    options = build_options({}, {}, flags)
    start = starting_point(options)
    items = inspect_data(start, options, Ranks()).train.items
    model = build_trainable(start, start, options)
    check_pairing(model, start, items, 0.1, data)
    texts = [item.text for item in items]
    moved = [TrainItem(i.key, i.audio, t, i.duration_ms) for i, t in zip(items, [*texts[1:], texts[0]], strict=True)]
    with pytest.raises(DataError, match=r"better than their own: BAC009S0\d+W0\d+ has the text of BAC009"):
        check_pairing(model, start, moved, 0.1, data)
    check_pairing(model, start, moved, 1.0, data)  # a warning
