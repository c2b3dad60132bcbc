"""Recordings through the whole chain, with a recognizer that counts and with the embedded models."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from funrecipe.audio.io import read_audio
from funrecipe.decode.options import DecodeOptions
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.recordings.cutting import Piece
from funrecipe.recordings.formats import as_json
from funrecipe.recordings.load import RecordingModels, load_timed_recognizer, load_transcriber
from funrecipe.recordings.transcriber import Failure, RecordingTranscriber

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "egs" / "quickstart"
SPOKEN = sorted((QUICKSTART / "data" / "wav").glob("*.flac"))[:5]


@dataclass
class Heard:
    tokens: list
    text: str
    score: float = 0.0
    timestamp_ms: list | None = None
    is_estimated: bool = False


class CountingRecognizer:
    """Says the length of what it hears."""

    sample_rate_hz = 1000

    def __init__(self):
        self.batches = []

    def transcribe(self, waveforms):
        self.batches.append([len(waveform) for waveform in waveforms])
        return [Heard([str(len(w))], str(len(w))) for w in waveforms]


class BlockCutter:
    """Every block is a piece."""

    def cut(self, blocks):
        start = 0
        for block in blocks:
            yield Piece(start, start + len(block), block, start)
            start += len(block)


def blocks(*lengths):
    return (np.zeros(length, np.float32) for length in lengths)


def test_pieces_of_many_recordings_are_recognized_together():
    recognizer = CountingRecognizer()
    transcriber = RecordingTranscriber(recognizer, BlockCutter(), batch_audio_s=5.0, batch_size=3)
    recordings = [(str(n), blocks(1000 + n, 500)) for n in range(5)]
    results = list(transcriber.transcribe(recordings))
    assert [result.key for result in results] == list("01234")
    assert [[w.text for w in result.words] for result in results] == [[str(1000 + n), "500"] for n in range(5)]
    assert [result.duration_ms for result in results] == [1500 + n for n in range(5)]
    assert recognizer.batches == [[1004, 1003, 1002], [1001, 1000, 500], [500, 500, 500], [500]]


def test_a_piece_longer_than_a_batch_is_recognized_alone():
    recognizer = CountingRecognizer()
    transcriber = RecordingTranscriber(recognizer, BlockCutter(), batch_audio_s=1.0)
    list(transcriber.transcribe([("a", blocks(3000, 400, 400))]))
    assert recognizer.batches == [[3000], [400, 400]]


def test_a_recording_is_recognized_while_it_is_read():
    recognizer = CountingRecognizer()
    read = []

    def slow():
        for number in range(100):
            read.append(len(recognizer.batches))
            yield np.zeros(1000, np.float32) + number

    (result,) = RecordingTranscriber(recognizer, BlockCutter(), batch_audio_s=2.0).transcribe([("a", slow())])
    assert len(result.words) == 100
    assert read[50] > 10  # half of it was recognized before the rest was read


def test_a_recording_that_cannot_be_read_fails_alone():
    def broken():
        yield np.zeros(1000, np.float32)
        raise DataError("cannot read audio: damaged")

    transcriber = RecordingTranscriber(CountingRecognizer(), BlockCutter())
    results = list(transcriber.transcribe([("a", blocks(100)), ("b", broken()), ("c", blocks(300))]))
    assert [type(result) is Failure for result in results] == [False, True, False]
    assert "damaged" in str(results[1].error)


def test_an_empty_recording_has_an_empty_transcript():
    (result,) = RecordingTranscriber(CountingRecognizer(), BlockCutter()).transcribe([("a", blocks())])
    assert (result.text, result.duration_ms) == ("", 0)


def test_speakers_are_found_in_all_speech_of_a_recording():
    class Finder:
        made = []

        def __init__(self):
            self.seen = set()
            self.made.append(self)

        def add(self, start_s, samples):
            self.seen.add((start_s, len(samples)))

        def speakers_of(self, sentences_ms):
            return [len(self.seen)] * len(sentences_ms)

    transcriber = RecordingTranscriber(CountingRecognizer(), BlockCutter(), speaker_hook=Finder)
    first, second = transcriber.transcribe([("a", blocks(100, 300, 200)), ("b", blocks(50))])
    assert [finder.seen for finder in Finder.made] == [{(0.0, 100), (0.1, 300), (0.4, 200)}, {(0.0, 50)}]
    assert {sentence.speaker for sentence in first.sentences} == {3}
    assert {sentence.speaker for sentence in second.sentences} == {1}


def test_a_speaker_model_says_who_speaks():
    pytest.importorskip("sklearn")
    recognizer, vad = (open_model_folder(QUICKSTART / name) for name in ("model", "vad"))
    models = RecordingModels(recognizer, vad, None, open_model_folder(ROOT / "tests/data/parity/campplus"))
    samples, _ = long_recording()
    (result,) = load_transcriber(models).transcribe([("a", [samples])])
    assert {sentence.speaker for sentence in result.sentences} == {0}  # less than 20 windows of speech are one speaker


@pytest.fixture(scope="module")
def transcriber():
    models = RecordingModels(open_model_folder(QUICKSTART / "model"), open_model_folder(QUICKSTART / "vad"))
    return load_transcriber(models)


def long_recording(gap_s=1.5):
    """Five real utterances with pauses of faint noise, and where each is in ms."""
    noise = np.random.default_rng(0)
    parts, spans, at = [], [], 0
    for path in SPOKEN:
        for samples in (
            noise.normal(0, 1e-4, int(gap_s * 16000)).astype(np.float32),
            read_audio(path, sample_rate_hz=16000),
        ):
            parts.append(samples)
            at += len(samples)
        spans.append(((at - len(samples)) / 16, at / 16))
    return np.concatenate(parts), spans


def test_real_utterances_are_found_and_recognized_as_one_by_one(transcriber):
    samples, spans = long_recording()
    (result,) = transcriber.transcribe([("long", [samples])])
    assert len(result.segments) == len(spans)
    for segment, (start_ms, end_ms) in zip(result.segments, spans):
        assert start_ms <= segment.start_ms + 100 and segment.end_ms <= end_ms + 700
    alone = transcriber.recognizer.transcribe([read_audio(path, sample_rate_hz=16000) for path in SPOKEN])
    together = "".join(word.text for word in result.words)
    one_by_one = "".join(hypothesis.text.replace(" ", "") for hypothesis in alone)
    assert abs(len(together) - len(one_by_one)) <= 3
    assert result.has_word_times
    for segment in result.segments:
        starts = [word.start_ms for word in segment.words]
        assert starts == sorted(starts) and starts[0] >= segment.start_ms - 100


def test_how_a_recording_comes_makes_no_difference(transcriber):
    samples, _ = long_recording(gap_s=1.0)
    (whole,) = transcriber.transcribe([("a", [samples])])
    in_blocks = [samples[i : i + 12_345] for i in range(0, len(samples), 12_345)]
    first, second = transcriber.transcribe([("a", in_blocks), ("b", [samples[: 16000 * 6]])])
    assert as_json(first) == as_json(whole)
    assert second.duration_ms == 6000


def test_any_recognizer_of_the_zoo_can_be_used(tmp_path):
    folder = open_model_folder(ROOT / "tests" / "data" / "parity" / "conformer")
    assert load_timed_recognizer(folder).search.timed
    models = RecordingModels(folder, None, open_model_folder(ROOT / "tests/data/parity/punc_ct_transformer"))
    chain = load_transcriber(models, options=DecodeOptions(max_piece_s=5.0))
    (result,) = chain.transcribe([("a", [np.random.default_rng(0).normal(0, 0.05, 16000 * 7).astype(np.float32)])])
    assert len(result.segments) == 2
    assert result.segments[0].end_ms == result.segments[1].start_ms


def test_models_that_do_not_fit_together_are_refused():
    recognizer = open_model_folder(QUICKSTART / "model")
    with pytest.raises(UsageError, match="does not detect voice activity"):
        load_transcriber(RecordingModels(recognizer, recognizer))
    with pytest.raises(UsageError, match="does not punctuate"):
        load_transcriber(RecordingModels(recognizer, None, recognizer))
    with pytest.raises(UsageError, match="unknown text rules"):
        load_transcriber(RecordingModels(recognizer), text_rules="2")
