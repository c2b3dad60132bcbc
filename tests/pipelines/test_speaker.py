"""``Tasks.speaker_verification`` as ModelScope's users call it."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest

from funrecipe.errors import DataError, UsageError
from funrecipe.pipelines import Tasks, pipeline

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="module", params=["campplus", "eres2netv2", "xvector"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def golden(name):
    return np.load(PARITY / name / "io.npz")


@pytest.fixture(scope="module")
def verify(name):
    return pipeline(task=Tasks.speaker_verification, model=PARITY / name, ngpu=0)


def test_one_recording_gets_the_embedding_of_funasr(verify, golden):
    found = verify(audio_in=golden["in.wav0"])
    assert found["key"] == "utt_id"
    np.testing.assert_allclose(found["spk_embedding"], golden["out.u0.embedding"], atol=1e-3)


def test_two_recordings_get_a_score_and_a_decision(verify, golden):
    cosine = float(golden["out.cosine"][0, 1])
    pair = (golden["in.wav0"], golden["in.wav1"])
    for threshold, text in ((cosine - 0.01, "yes"), (cosine + 0.01, "no")):
        found = verify(audio_in=pair, param_dict={"threshold": threshold})
        assert found["score"] == pytest.approx(cosine, abs=1e-4)
        assert (found["text"], found["threshold"]) == (text, threshold)
        expected = max(cosine - threshold, 0) / (1 - threshold) * 100
        assert found["scores"] == [pytest.approx(expected, abs=0.1)]


def test_without_a_threshold_that_of_the_released_model_decides(name, verify):
    expected = {"campplus": 0.31, "eres2netv2": 0.36, "xvector": 0.9465}[name]
    assert verify(audio_in=[np.ones(24000, np.float32) * 0.1] * 2)["threshold"] == expected


def test_a_list_writes_the_original_files(verify, golden, tmp_path):
    golden["in.wav1"].tofile(tmp_path / "b.pcm")
    (tmp_path / "wav.scp").write_text(f"c {tmp_path}/missing.wav\nb {tmp_path}/b.pcm\n")
    results = verify(audio_in=str(tmp_path / "wav.scp"), output_dir=tmp_path / "out")
    assert [result["key"] for result in results] == ["b", "c"] and "No such file" in results[1]["error"]
    vectors = dict(kaldiio.load_scp(str(tmp_path / "out/xvector.scp")).items())
    assert list(vectors) == ["b"]
    np.testing.assert_allclose(vectors["b"], golden["out.u1.embedding"], atol=1e-3)
    assert dict(kaldiio.load_ark(str(tmp_path / "out/xvector.ark"))).keys() == {"b"}
    assert (tmp_path / "out/failed.scp").read_text().startswith(f"c\t{tmp_path}/missing.wav\t")


def test_a_pair_writes_the_original_files(verify, golden, tmp_path):
    found = verify(audio_in=[golden["in.wav0"], golden["in.wav1"]], output_dir=tmp_path)
    for file, number in (("xvector", 0), ("ref_xvector", 1)):
        ((_, vector),) = kaldiio.load_scp(str(tmp_path / f"{file}.scp")).items()
        np.testing.assert_allclose(vector, golden[f"out.u{number}.embedding"], atol=1e-3)
    assert (tmp_path / "score.txt").read_text() == f"utt_id {found['scores'][0]:.6f}\n"


def test_what_cannot_be_answered_is_named(verify, tmp_path):
    with pytest.raises(UsageError, match="unknown key 'treshold'.*\n.*\n.*did you mean 'threshold'"):
        verify(audio_in=np.zeros(16000), param_dict={"treshold": 0.5})
    with pytest.raises(UsageError, match="the threshold is 1.5"):
        verify(audio_in=np.zeros(16000), param_dict={"threshold": 1.5})
    with pytest.raises(DataError, match="too short for a speaker embedding"):
        verify(audio_in=np.zeros(100, np.float32))
    with pytest.raises(DataError, match="No such file"):
        verify(audio_in=(str(tmp_path / "a.wav"), np.zeros(16000, np.float32)))
    with pytest.raises(UsageError, match="no mode 'offline'"):
        pipeline(task=Tasks.speaker_verification, model=PARITY / "campplus", mode="offline")
    with pytest.raises(UsageError, match="family 'paraformer' has no speaker embeddings"):
        pipeline(task=Tasks.speaker_verification, model=PARITY / "paraformer")
