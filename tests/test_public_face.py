"""What `import funrecipe` offers: load().transcribe() and score_texts(), and that their documentation runs."""

from __future__ import annotations

import dataclasses
import doctest
from pathlib import Path

import numpy as np
import pytest

import funrecipe
import funrecipe.score
import funrecipe.transcription
from funrecipe.errors import DataError, UsageError
from funrecipe.pipelines import Tasks, pipeline

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "tests/data/parity/paraformer"
AUDIO = sorted((ROOT / "egs/quickstart/data/wav").glob("*.flac"))[:3]


@pytest.mark.parametrize("module", [funrecipe.score, funrecipe.transcription], ids=lambda module: module.__name__)
def test_the_examples_of_the_documentation_run(module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


def test_a_transcript_is_what_the_pipeline_says() -> None:
    model = funrecipe.load(MODEL, device="cpu")
    recognize = pipeline(task=Tasks.auto_speech_recognition, model=MODEL, ngpu=0)
    transcripts = model.transcribe_all(AUDIO)
    for path, transcript in zip(AUDIO, transcripts, strict=True):
        alone, fields = model.transcribe(path), recognize(audio_in=str(path))
        assert (alone.text, list(alone.tokens)) == (fields["text"], fields["tokens"])
        assert (transcript.text, transcript.tokens) == (alone.text, alone.tokens)
        assert alone.score == pytest.approx(fields["score"]) == pytest.approx(transcript.score, abs=1e-3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        transcripts[0].text = "other"


def test_bad_audio_is_an_error_alone_and_a_field_in_a_list(tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF\x00\x00\x00\x00WAVE")
    model = funrecipe.load(MODEL, device="cpu")
    with pytest.raises(DataError, match="broken.wav"):
        model.transcribe(broken)
    good, bad = model.transcribe_all([AUDIO[0], broken])
    assert good.error is None and good.tokens
    assert bad.error and bad.text == ""


def test_a_list_of_values_gives_each_recording_its_own() -> None:
    """Languages of SenseVoice in an order that mixes them: as each recording alone."""
    model = funrecipe.load(ROOT / "tests/data/parity/sensevoice_small", device="cpu")
    with np.load(ROOT / "tests/data/parity/sensevoice_small/io.npz") as arrays:
        waves = [arrays[f"in.wav{i}"].astype(np.float32) / 32768 for i in (0, 1, 0, 2)]
    languages = ["zh", "en", "en", "zh"]
    together = model.transcribe_all(waves, language=languages, output="rich", audio_fs=16000)
    alone = [model.transcribe(w, language=name, output="rich", audio_fs=16000) for w, name in zip(waves, languages)]
    assert [t.text for t in together] == [t.text for t in alone]
    assert [t.score for t in together] == pytest.approx([t.score for t in alone], abs=1e-3)
    assert together[0].score != pytest.approx(together[2].score, abs=1e-3)  # the same recording
    with pytest.raises(UsageError, match="language has 1 values for 4 recordings"):
        model.transcribe_all(waves, language=["zh"], audio_fs=16000)


def test_an_option_that_does_not_exist_or_has_no_effect_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown option 'beam'"):
        funrecipe.load(MODEL, device="cpu", beam=3)
    with pytest.raises(UsageError, match="has no effect"):
        funrecipe.load(MODEL, device="cpu", search_type="tsd")
    model = funrecipe.load(MODEL, device="cpu")
    with pytest.raises(UsageError, match="unknown option 'beam'"):
        model.transcribe(AUDIO[0], beam=3)
    with pytest.raises(UsageError, match="batch_size is 0"):
        model.transcribe_all(AUDIO, batch_size=0)


@pytest.mark.parametrize("audio", [str(AUDIO[0]), AUDIO[0], AUDIO[0].read_bytes(), np.zeros(100, np.int16)])
def test_a_list_is_expected_where_one_recording_is_given(audio) -> None:
    with pytest.raises(UsageError, match="not a list"):
        funrecipe.load(MODEL, device="cpu").transcribe_all(audio)
