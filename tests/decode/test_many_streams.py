"""Several streams that are computed together say what each says alone."""

from pathlib import Path

import numpy as np
import pytest

from funrecipe.decode.streaming import StreamOptions, load_streaming_recognizer
from funrecipe.model_folder import open_model_folder

GOLDEN = Path(__file__).parents[1] / "data" / "parity"
PIECE = 9600
LOOK_BACKS = [StreamOptions(), StreamOptions((0, 10, 5), 4, 1)]


def streams(*lengths):
    rng = np.random.default_rng(5)
    return [rng.uniform(-0.3, 0.3, n).astype(np.float32) for n in lengths]


def pieces_of(wave, piece=PIECE):
    starts = range(0, max(len(wave), 1), piece)
    return [(wave[start : start + piece], start + piece >= len(wave)) for start in starts]


def alone(recognizer, wave, options):
    cache = {}
    return [recognizer.feed(piece, cache, is_final, options) for piece, is_final in pieces_of(wave)]


@pytest.mark.parametrize("options", LOOK_BACKS)
def test_streams_that_begin_at_different_times_say_what_each_says_alone(options):
    recognizer = load_streaming_recognizer(open_model_folder(GOLDEN / "paraformer_online"))
    waves = streams(50000, 9600 * 3, 70000, 400, 41234)
    begin = [0, 0, 1, 2, 2]  # the round in which each stream begins
    wanted = [alone(recognizer, wave, options) for wave in waves]
    waiting, caches, found = [pieces_of(wave) for wave in waves], [{} for _ in waves], [[] for _ in waves]
    together = 0
    for step in range(20):
        active = [n for n, left in enumerate(waiting) if left and step >= begin[n]]
        taken = [(n, *waiting[n].pop(0)) for n in active]
        updates = recognizer.feed_many([(piece, caches[n], is_final) for n, piece, is_final in taken], options)
        for number, update in zip(active, updates, strict=True):
            found[number].append(update)
        together = max(together, len(active))
    assert together >= 4 and not any(waiting)
    for one, other in zip(wanted, found, strict=True):
        assert [(u.tokens, u.text) for u in one] == [(u.tokens, u.text) for u in other]
        assert [u.score for u in one] == pytest.approx([u.score for u in other], abs=1e-4)
        assert one[-1].total.text == other[-1].total.text
    assert sum(len(update.tokens) for updates in found for update in updates) > 10


def test_the_encoder_is_called_once_for_streams_at_the_same_point(monkeypatch):
    recognizer = load_streaming_recognizer(open_model_folder(GOLDEN / "paraformer_online"))
    model, sizes = recognizer._model._model, []
    encode = model._encode_window
    monkeypatch.setattr(model, "_encode_window", lambda new, cache: sizes.append(len(new)) or encode(new, cache))
    caches = [{} for _ in range(3)]
    for start in (0, PIECE, 2 * PIECE):
        waves = streams(*[3 * PIECE] * 3)
        recognizer.feed_many([(wave[start : start + PIECE], cache, False) for wave, cache in zip(waves, caches)])
    assert sizes and set(sizes) == {3}


def test_a_family_that_computes_streams_one_by_one_takes_many_too():
    recognizer = load_streaming_recognizer(open_model_folder(GOLDEN / "rnnt"))
    waves, caches = streams(20000, 30000), [{}, {}]
    wanted = [recognizer.feed(wave, {}, True) for wave in waves]
    found = recognizer.feed_many([(wave, cache, True) for wave, cache in zip(waves, caches)])
    assert [u.tokens for u in found] == [u.tokens for u in wanted]
