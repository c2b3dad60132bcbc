"""funrecipe perplexity: golden values, n-grams, lists with mistakes."""

from pathlib import Path

import numpy as np
import pytest

from funrecipe.cli import main
from funrecipe.model_folder import open_model_folder

GOLDEN = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture
def text(tmp_path):
    """The golden sentences as a Kaldi text, with a token that the vocabulary lacks in the last."""
    folder = open_model_folder(GOLDEN / "lm_transformer")
    with np.load(GOLDEN / "lm_transformer" / "io.npz") as arrays:
        ids, lens = arrays["in.text"], arrays["in.text_lens"]
    lines = [f"s{i} " + " ".join(folder.tokens[t] for t in row[:n]) for i, (row, n) in enumerate(zip(ids, lens))]
    path = tmp_path / "text"
    path.write_text("\n".join([*lines, "s9 闾"]) + "\n", encoding="utf-8")
    return path


def rows_of(path):
    return {key: values for key, *values in (line.split("\t") for line in path.read_text().splitlines())}


def test_sentences_get_the_golden_values(text, tmp_path, capsys):
    out = tmp_path / "scores"
    assert main(["perplexity", "--model", str(GOLDEN / "lm_transformer"), str(text), str(out)]) == 0
    rows = rows_of(out)
    with np.load(GOLDEN / "lm_transformer" / "io.npz") as arrays:
        lens = arrays["in.text_lens"]
        for i in range(len(lens)):
            assert float(rows[f"s{i}"][0]) == pytest.approx(float(arrays[f"out.u{i}.logprob"][0]), abs=1e-3)
            assert float(rows[f"s{i}"][1]) == pytest.approx(float(arrays[f"out.u{i}.ppl"][0]), rel=1e-3)
            assert rows[f"s{i}"][2:] == [str(lens[i] + 1), "0"]
    assert rows["s9"][2:] == ["2", "1"]
    assert f"tokens {sum(lens) + len(lens) + 2}  unknown 1" in capsys.readouterr().err


def test_an_ngram_model_over_the_same_tokens(text, tmp_path):
    arpa = tmp_path / "one.arpa"
    arpa.write_text("\\1-grams:\n-1 <unk>\n-2 </s>\n\\end\\\n", encoding="utf-8")
    out = tmp_path / "scores"
    assert main(["perplexity", "--model", str(GOLDEN / "lm_rnn"), "--arpa", str(arpa), str(text), str(out)]) == 0
    assert float(rows_of(out)["s9"][0]) == pytest.approx(-3 * np.log(10), abs=1e-3)


def test_mistakes_are_answered(text, tmp_path, capsys):
    assert main(["perplexity", "--model", str(GOLDEN / "transformer"), str(text)]) == 2
    assert "language model" in capsys.readouterr().err
    (tmp_path / "empty").write_text("")
    assert main(["perplexity", "--model", str(GOLDEN / "lm_rnn"), str(tmp_path / "empty")]) == 3
    text.write_bytes(b"a \xff\xfe\n")
    assert main(["perplexity", "--model", str(GOLDEN / "lm_rnn"), str(text)]) == 3
    assert f"{text}:1" in capsys.readouterr().err


def test_a_model_without_a_language_model_is_told_what_to_do(text, capsys):
    assert main(["perplexity", "--model", str(GOLDEN / "paraformer"), str(text)]) == 2
    error = capsys.readouterr().err
    assert "the model folder has no language model" in error and "--arpa" in error
    assert "lm_weight is set" not in error  # nobody has set it
