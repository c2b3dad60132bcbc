"""What pieces say becomes one hypothesis: overlaps once, times from the beginning, whatever was batched."""

from dataclasses import replace

import numpy as np
import pytest

from funrecipe.decode.hypothesis import EMPTY, Hypothesis
from funrecipe.recordings import joining
from funrecipe.recordings.cutting import Part
from funrecipe.recordings.joining import PieceRecognizer, join_hypotheses, seam

RATE_HZ = 1000


class Speller:
    """Hears one token a second, named by the loudest sample of that second; misses what a cut leaves of one."""

    sample_rate_hz, max_piece_s, nbest = RATE_HZ, 8.0, 1

    def __init__(self):
        self.batches = []

    def transcribe(self, waveforms):
        self.batches.append([len(waveform) for waveform in waveforms])
        return [self.hear(waveform) for waveform in waveforms]

    def hear(self, waveform):
        peaks = np.flatnonzero(waveform > 0.5)
        tokens = [str(round((float(waveform[peak]) - 0.5) * 1000)) for peak in peaks]
        times = [[int(peak) - 100, int(peak) + 100] for peak in peaks]
        hypothesis = Hypothesis(tokens, self.text_of(tokens), -float(len(tokens)), times)
        return replace(hypothesis, nbest=[hypothesis]) if self.nbest > 1 else hypothesis

    def text_of(self, tokens):
        return " ".join(f"w{token}" for token in tokens)


def recording(seconds):
    """A hum with a click of its own height in every second; no pause anywhere."""
    wave = np.full(seconds * RATE_HZ, 0.05, np.float32)
    wave[500::RATE_HZ] = 0.5 + (1 + np.arange(seconds)) / 1000
    return wave


def test_an_hour_of_words_comes_back_once_each_with_its_times():
    recognizer = Speller()
    short, long = recording(5), recording(100)
    found = PieceRecognizer(recognizer, batch_audio_s=30, batch_size=3).transcribe([short, long])
    assert found[0] == Speller().hear(short)
    assert found[1].tokens == [str(number) for number in range(1, 101)]
    assert found[1].text.split() == [f"w{number}" for number in range(1, 101)]
    assert [begin for begin, _ in found[1].timestamp_ms] == [1000 * number + 400 for number in range(100)]
    assert all(len(batch) <= 3 and max(batch) * len(batch) <= 30 * RATE_HZ for batch in recognizer.batches[1:])
    assert max(map(max, recognizer.batches)) <= 8 * RATE_HZ


def test_the_result_does_not_depend_on_the_batches():
    long = recording(77)
    results = [
        PieceRecognizer(Speller(), batch_audio_s=seconds, batch_size=size).transcribe([*others, long])[-1]
        for seconds, size, others in [(8, 1, []), (50, 64, [recording(3)]), (1000, 5, [recording(40), recording(9)])]
    ]
    assert results[0] == results[1] == results[2]


def test_nbest_is_the_one_joined_hypothesis():
    recognizer = Speller()
    recognizer.nbest = 3
    (found,) = PieceRecognizer(recognizer, batch_audio_s=50, batch_size=8).transcribe([recording(20)])
    assert [other.tokens for other in found.nbest] == [found.tokens]


@pytest.mark.parametrize(
    ("left", "right", "drop", "skip"),
    [
        ("", "", 0, 0),
        ("abc", "", 0, 0),
        ("", "abc", 0, 0),
        ("abcd", "efgh", 0, 0),  # nothing agrees: both are kept
        ("abcde", "cdefg", 1, 2),  # the middle one of c, d, e
        ("abcdX", "Ycdefg", 2, 2),  # what a cut leaves of a token is no token
        ("abXcde", "bcdefg", 2, 2),  # one has heard a token more
        ("aba", "bab", 1, 1),
        ("a是", "是b", 0, 1),
        ("是abcdef", "是ghijkl", 0, 0),  # far apart: said twice
    ],
)
def test_the_seam_is_where_both_agree(left, right, drop, skip):
    assert seam(left, right) == (drop, skip)


def test_a_seam_never_loses_or_repeats_an_agreed_token():
    rng = np.random.default_rng(3)
    for _ in range(50):
        text = [str(number) for number in rng.integers(0, 1000, 30)]
        start, end = sorted(rng.integers(5, 25, 2).tolist())
        left, right = text[: end + 1], text[start:]
        drop, skip = seam(left[-20:], right[:20])
        assert left[: len(left) - drop] + right[skip:] == text


def test_no_piece_is_an_empty_hypothesis():
    assert join_hypotheses([], [], Speller(), RATE_HZ) == EMPTY


def test_tags_are_those_of_the_piece_that_says_most_and_texts_are_joined():
    def rich(text, language):
        tokens = ["t"] * len(text)
        fields = {"text": text, "language": language, "emotion": None, "event": "Speech"}
        return Hypothesis(tokens, " ".join(text), -1.0, rich=fields)

    pieces = [Part(0, 5000), Part(4000, 9000, 1000), Part(9000, 12000)]
    joined = join_hypotheses(
        pieces, [rich("你好，世", "zh"), rich("世界。再来", "yue"), rich("ok", "en")], Speller(), 1000
    )
    assert joined.rich == {"text": "你好，世界。再来ok", "language": "yue", "emotion": None, "event": "Speech"}
    assert joined.text == "你 好 ， 世 界 。 再 来 o k"
    assert joined.score == -3.0


@pytest.mark.parametrize("is_tiled", [False, True])
def test_free_memory_is_given_back_where_shapes_change(monkeypatch, is_tiled):
    returned = []
    monkeypatch.setattr(joining, "return_free_memory", lambda: returned.append(True))
    recognizer = Speller()
    if is_tiled:  # as on a GPU, where a second of work is hours of audio
        recognizer.tile_of = lambda samples: ((samples,), 1)
    PieceRecognizer(recognizer, batch_audio_s=30, batch_size=3).transcribe([recording(5)] * 50)
    assert len(returned) == (0 if is_tiled else 2)
