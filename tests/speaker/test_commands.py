"""``funrecipe embed`` and ``funrecipe verify``."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from funrecipe.cli import main
from funrecipe.errors import DataError
from funrecipe.speaker.from_results import read_speaker_counts
from funrecipe.speaker.vectors import write_vectors

MODEL = Path(__file__).parents[1] / "data" / "parity" / "campplus"


@pytest.fixture
def data(tmp_path):
    """Two recordings of the golden case, one twice in different formats."""
    golden = np.load(MODEL / "io.npz")
    folder = tmp_path / "data"
    folder.mkdir()
    for name, key in (("a1.wav", "wav0"), ("a2.flac", "wav0"), ("b.wav", "wav1")):
        soundfile.write(folder / name, golden[f"in.{key}"], 16000)
    (folder / "wav.scp").write_text("b b.wav\na2 a2.flac\na1 a1.wav\n")
    (folder / "trials").write_text("a1 a2 target\na1 b nontarget\n")
    return folder


def embed(data, out, *more):
    return main(["embed", "--model", str(MODEL), *more, str(data), str(out)])


def test_a_list_becomes_kaldi_vectors_in_byte_order(data, tmp_path, capsys):
    assert embed(data / "wav.scp", tmp_path / "out") == 0
    assert capsys.readouterr().out == f"3 embeddings of 48 numbers in {tmp_path / 'out'}\n"
    vectors = dict(kaldiio.load_scp(str(tmp_path / "out/xvector.scp")).items())
    assert list(vectors) == ["a1", "a2", "b"]
    golden = np.load(MODEL / "io.npz")
    for key, number in (("a1", 0), ("a2", 0), ("b", 1)):
        np.testing.assert_allclose(vectors[key], golden[f"out.u{number}.embedding"], atol=1e-3)


def test_segments_of_a_data_directory_are_embedded_alone(data, tmp_path):
    (data / "segments").write_text("x a1 0.0 1.0\ny a1 1.0 2.0\n")
    assert embed(data, tmp_path / "out") == 0
    assert sorted(kaldiio.load_scp(str(tmp_path / "out/xvector.scp"))) == ["x", "y"]


def test_another_channel_is_embedded_if_asked_for(data, tmp_path):
    golden = np.load(MODEL / "io.npz")
    length = min(len(golden["in.wav0"]), len(golden["in.wav1"]))
    both = np.stack([golden[f"in.wav{n}"][:length] for n in (0, 1)], axis=1)
    soundfile.write(data / "two.wav", both, 16000)
    soundfile.write(data / "one.wav", both[:, 1], 16000)
    (data / "wav.scp").write_text("two two.wav\n")
    assert embed(data / "wav.scp", tmp_path / "second", "--channel", "2") == 0
    (data / "wav.scp").write_text("one one.wav\n")
    assert embed(data / "wav.scp", tmp_path / "alone") == 0
    second, alone = (kaldiio.load_scp(str(tmp_path / name / "xvector.scp")) for name in ("second", "alone"))
    np.testing.assert_array_equal(second["two"], alone["one"])


def test_a_recording_that_fails_publishes_nothing_unless_allowed(data, tmp_path, capsys):
    assert embed(data, tmp_path / "out") == 0
    soundfile.write(data / "b.wav", np.zeros(100, np.int16), 16000)
    assert embed(data, tmp_path / "out") == 4
    assert "1 of 3 utterances failed, nothing was published" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["failed.scp"]
    assert embed(data, tmp_path / "out", "--max_failed", "1") == 0
    assert sorted(kaldiio.load_scp(str(tmp_path / "out/xvector.scp"))) == ["a1", "a2"]
    assert (tmp_path / "out/failed.scp").read_text().startswith(f"b\t{data}/b.wav\t6 ms of audio is too short")


def test_pairs_are_scored_and_rated(data, tmp_path, capsys):
    embed(data, tmp_path / "out")
    capsys.readouterr()
    trials, vectors = str(data / "trials"), str(tmp_path / "out/xvector.scp")
    assert main(["verify", trials, vectors, str(tmp_path / "scores")]) == 0
    assert capsys.readouterr().out.startswith("%EER 0.00 at")
    cosine = np.load(MODEL / "io.npz")["out.cosine"][0, 1]
    first, second = (line.split() for line in (tmp_path / "scores").read_text().splitlines())
    assert first == ["a1", "a2", "1.00000"]
    assert second[:2] == ["a1", "b"] and float(second[2]) == pytest.approx(cosine, abs=1e-4)
    (data / "trials").write_text("a1 c\n")
    assert main(["verify", trials, vectors]) == 3


def test_embeddings_from_a_command_or_without_numbers_give_no_error_rate(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("trials").write_text("a b target\na c nontarget\n")
    vectors = {key: np.full(4, value, np.float32) for key, value in (("a", 1), ("b", 2), ("c", 3))}
    for spoiled, code in (({"c": np.full(4, np.nan, np.float32)}, 3), ({"c": np.ones(5, np.float32)}, 3), ({}, 6)):
        write_vectors(tmp_path, "xvector", vectors | spoiled)
        if not spoiled:
            places = Path("xvector.scp").read_text().splitlines()
            Path("xvector.scp").write_text("\n".join([*places[:2], "c touch pwned |"]))
        assert main(["verify", "trials", "xvector.scp"]) == code
        said = capsys.readouterr()
        assert "%EER" not in said.out + said.err and "the vector of 'c'" in said.err
    assert not Path("pwned").exists()


def test_numbers_of_speakers_are_read_as_every_list_is(tmp_path):
    counts = tmp_path / "reco2num_spk"
    assert read_speaker_counts(counts) == {}
    for content in ("x 2\ny 3\n", "\ufeffx 2\r\n\r\ny\t3\r\n"):
        counts.write_bytes(content.encode())
        assert read_speaker_counts(counts) == {"x": 2, "y": 3}
    for content, said in (
        (b"x two\n", "'two' is not a number of speakers\n  at: .*: x"),
        (b"x 0\n", "'0' is not a number"),
        (b"x\n", "'' is not a number"),
        (b"x 2 3\n", "'2 3' is not a number"),
        (b"x 2\nx 3\n", "duplicate id 'x'"),
        (b"x\xff 2\n", "not UTF-8"),
    ):
        counts.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_speaker_counts(counts)


def test_utterances_without_an_embedding_are_named_beside_the_turns(data, tmp_path, capsys):
    results = tmp_path / "text"
    results.write_text("a1 [ 0.0 1.5 1.0 0.0 ]\na2 [ 0.0 1.5 0.0 1.0 ]\n")
    command = ["diarize", "--data_dir", str(data), str(results), str(tmp_path / "rttm")]
    assert main(command) == 0
    assert "1 utterance without an embedding, taken for silence: b" in capsys.readouterr().out
    results.write_text(results.read_text() + "b [ ]\n")
    assert main(command) == 0
    assert "without an embedding" not in capsys.readouterr().out
