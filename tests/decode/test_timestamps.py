"""Exactly one span per token, whatever the head says."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.decode.timestamps import FIRE, align, token_begins, token_times_ms
from funrecipe.models.cif import accumulator

STEP_S = 0.02


def head(alphas):
    alphas = torch.tensor(alphas)
    return alphas, accumulator(alphas[None], FIRE, FIRE)[0]


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=90), st.integers(0, 30))
def test_one_span_per_token_in_order_and_inside(alphas, n_tokens):
    n_tokens = min(n_tokens, len(alphas) - 1)
    spans = align(*head(alphas), n_tokens, STEP_S)
    times = token_times_ms(spans)
    assert len(times) == n_tokens
    assert [span.token for span in spans if span.token is not None] == list(range(n_tokens))
    end_ms = 1000 * STEP_S * len(alphas)
    for (start, end), (next_start, _) in zip(times, times[1:] + [[int(end_ms) + 1, 0]]):
        assert start <= end <= next_start + 1
    if times:
        assert times[0][0] >= 0 and times[-1][1] <= end_ms + 1


def test_a_peak_at_the_beginning_marks_the_beginning():
    alphas, peaks = head([1.0] + [0.0] * 9 + [1.0] + [0.0] * 4)
    assert token_times_ms(align(alphas, peaks, 1, STEP_S))[0][0] == 0


def test_peaks_stand_for_beginnings_one_and_a_half_steps_earlier():
    alphas, peaks = head([0.0] * 9 + [1.0] + [0.0] * 9 + [1.0] + [0.0] * 4)
    assert token_begins(alphas, peaks, 1) == [9, 19]
    spans = align(alphas, peaks, 1, STEP_S)
    # silence up to step 7.5, the token to the middle between its end (17.5) and the end of the audio (24)
    assert [(s.token, round(s.start_s / STEP_S, 6), round(s.end_s / STEP_S, 6)) for s in spans] == [
        (None, 0.0, 7.5),
        (0, 7.5, 20.75),
        (None, 20.75, 24.0),
    ]


def test_long_tokens_are_cut_and_silence_follows():
    alphas, peaks = head([1.0] + [0.0] * 30 + [1.0] + [0.0] * 2 + [1.0])
    spans = align(alphas, peaks, 2, STEP_S)
    assert [s.token for s in spans] == [0, None, 1]
    assert round((spans[0].end_s - spans[0].start_s) / STEP_S, 6) == 12


def test_no_tokens_no_spans():
    assert align(*head([0.5, 0.5]), 0, STEP_S) == []
