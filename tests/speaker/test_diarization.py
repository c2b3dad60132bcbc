"""From segments to speakers: windows, clusters, turns, sentences. FunASR's numbers are in tests/data/parity."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.speaker.clustering import MAX_WINDOWS, cluster
from funrecipe.speaker.diarization import (
    Diarization,
    SpeechWindows,
    Turn,
    cut_segments,
    cut_windows,
    diarize,
    turns_of_windows,
)
from funrecipe.speaker.embedding import load_speaker_model

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def model():
    return load_speaker_model(open_model_folder(DATA / "parity" / "campplus"))


def embeddings_of(speakers: np.ndarray, size: int = 24, noise: float = 0.1) -> np.ndarray:
    """Points around one random direction per speaker."""
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(speakers.max() + 1, size))
    return centers[speakers] + noise * generator.normal(size=(len(speakers), size))


@pytest.mark.parametrize("n_speakers", [None, 4])
@pytest.mark.parametrize("count", [40, MAX_WINDOWS + 500])
def test_well_separated_speakers_are_found_however_many_windows_there_are(count, n_speakers):
    truth = np.arange(count) // 10 % 4
    assert cluster(embeddings_of(truth), n_speakers).tolist() == truth.tolist()


def test_clusters_are_the_same_in_every_run():
    embeddings = embeddings_of(np.zeros(60, np.int64), noise=5.0)  # nothing to find: the seed decides
    assert cluster(embeddings, 3).tolist() == cluster(embeddings, 3).tolist()


def test_a_given_number_of_speakers_is_kept_although_they_are_alike():
    truth = np.arange(60) % 2
    embeddings = embeddings_of(truth, noise=0.01)
    embeddings = np.concatenate([embeddings, np.full((60, 1), 20.0)], axis=1)
    assert set(cluster(embeddings)) == {0}
    assert cluster(embeddings, 2).tolist() == truth.tolist()


def test_few_windows_are_one_speaker_and_none_are_none():
    assert cluster(embeddings_of(np.arange(19) % 2), 2).tolist() == [0] * 19
    assert cluster(np.zeros((0, 24))).tolist() == []


def test_no_speakers_at_all_is_refused():
    with pytest.raises(UsageError, match="n_speakers is 0"):
        cluster(np.zeros((30, 4)), 0)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(UsageError, match=r"pip install 'funrecipe\[speakers\]'"):
        cluster(embeddings_of(np.arange(40) % 2), 2)


def test_silent_windows_do_not_stop_the_clustering():
    embeddings = embeddings_of(np.arange(40) % 2)
    embeddings[3] = 0.0
    assert set(cluster(embeddings, 2)) == {0, 1}


def test_an_empty_segment_has_no_window():
    times_s, windows = cut_windows(np.zeros(0, np.float32), 3.0, 16000)
    assert times_s.shape == (0, 2) and windows.shape == (0, 24000)


def test_a_recording_gets_the_speakers_that_funasr_gives_it():
    row = json.loads((DATA / "speaker/recording.json").read_text())
    embeddings = np.load(DATA / "speaker/recording.npz")["embeddings"]
    speakers = cluster(embeddings).tolist()
    assert speakers == row["window_speakers"]
    turns = turns_of_windows([tuple(window) for window in row["windows_s"]], speakers)
    found = Diarization(tuple(turns), (), (), embeddings)
    for sentences in row["sentences"].values():
        times = [(start, end) for start, end, _ in sentences]
        assert found.speakers_of(times, rule="funasr") == [speaker for _, _, speaker in sentences]


def test_a_sentence_gets_the_speaker_with_the_most_time_in_it():
    turns = (Turn(0.0, 1.0, 0), Turn(1.0, 2.5, 1), Turn(2.5, 3.0, 0), Turn(3.0, 4.0, 2))
    found = Diarization(turns, (), (), np.zeros((0, 1)))
    # 1.0 s against 1.5 s; 0.5 + 0.5 s against 0.9 s; equal times: who speaks first; nobody speaks there.
    sentences = [(0, 2500), (500, 3000), (2000, 3500), (9000, 9500)]
    assert found.speakers_of(sentences) == [1, 1, 1, 0]
    assert found.speakers_of(sentences, rule="funasr")[0] == 0


def test_segments_are_embedded_as_they_come_and_speakers_follow_them(model):
    generator = np.random.default_rng(1)
    low, high = (np.sin(np.arange(48000) * hz * 2 * np.pi / 16000) for hz in (150, 2500))
    waveform = np.concatenate([low, high] * 4).astype(np.float32) * 0.3
    waveform += generator.normal(0, 0.01, len(waveform)).astype(np.float32)
    segments_ms = [(start, start + 3000) for start in range(0, 24000, 3000)]
    found = diarize(model, cut_segments(waveform, segments_ms, 16000), n_speakers=2)
    first, second = found.speakers_of(segments_ms[:2])
    assert first != second and found.speakers_of(segments_ms) == [first, second] * 4
    assert found.embeddings.shape == (len(found.windows_s), model.embedding_size)
    assert all(before.end_s <= after.start_s for before, after in zip(found.turns, found.turns[1:], strict=False))


def test_segments_may_come_in_any_order(model):
    generator = np.random.default_rng(2)
    speech = [(2.0 * i, generator.normal(0, 0.1, 24000 + 800 * i).astype(np.float32)) for i in range(20)]
    windows = SpeechWindows(model)
    for start_s, samples in reversed(speech):
        windows.add(start_s, samples)
    found, expected = windows.find_speakers(), diarize(model, speech)
    assert (found.turns, found.windows_s) == (expected.turns, expected.windows_s)
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)


def test_without_speech_there_are_no_turns(model):
    found = diarize(model, [])
    assert found.turns == () and found.embeddings.shape == (0, model.embedding_size)
    assert found.speakers_of([(0, 1000)]) == [0]


def test_the_times_of_the_only_turn_are_rounded_too() -> None:
    assert turns_of_windows([(0.17, 1.67), (0.92, 2.9499999999999997)], [0, 0]) == [Turn(0.17, 2.95, 0)]
