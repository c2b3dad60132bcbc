"""N-gram models and hotwords as scorers of a search."""

import gzip
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.decode.hotword_bias import HotwordBias
from funrecipe.decode.ngram import read_arpa
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import DataError
from funrecipe.model_folder import open_model_folder

GOLDEN = Path(__file__).parents[1] / "data" / "parity"
TOKENS = ["<blank>", "<s>", "</s>", "a", "b", "c", "<unk>"]
ARPA = """
\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.7\t</s>
-0.6\ta\t-0.3
-0.9\tb\t-0.2

\\2-grams:
-0.4\t<s> a\t-0.1
-0.5\ta b
-0.3\tb </s>
-0.2\ta other

\\3-grams:
-0.05\t<s> a b
-0.25\tc a b

\\end\\
"""


@pytest.fixture
def arpa(tmp_path):
    path = tmp_path / "ngram.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("ids", "log10"),
    [
        ([3, 4], -0.4 - 0.05 - 0.3),  # <s> a, <s> a b, b </s>
        ([3, 3], -0.4 + (-0.1 - 0.3 - 0.6) + (-0.3 - 0.7)),  # backing off from <s> a and from a
        ([4], (-0.5 - 0.9) - 0.3),
        ([5], (-0.5 - 1.0) - 0.7),  # c is unknown
        ([], -0.5 - 0.7),
        ([5, 3, 4], (-0.5 - 1.0) - 0.6 - 0.25 - 0.3),  # c a b, though c a is not in the file
    ],
)
def test_scores_are_those_of_the_back_off_rule(arpa, ids, log10):
    assert read_arpa(arpa, TOKENS).score(ids) == pytest.approx(log10 * math.log(10), rel=1e-5)


def test_steps_give_what_the_sentence_gives_and_gzip_reads_alike(arpa):
    packed = arpa.with_name("ngram.arpa.gz")
    packed.write_bytes(gzip.compress(arpa.read_bytes()))
    model = read_arpa(packed, TOKENS)
    state = [part.expand(1, 2, 0) for part in model.start(1, torch.device("cpu"))]
    sentences = torch.tensor([[1, 3, 4, 2], [1, 4, 3, 2]])
    total = torch.zeros(2)
    for position in range(3):
        scores, state = model.step(sentences[None, :, position], state)
        total += scores[0].gather(1, sentences[:, position + 1 : position + 2]).squeeze(1)
    assert total.tolist() == pytest.approx([model.score([3, 4]), model.score([4, 3])], rel=1e-5)


@pytest.mark.parametrize("name", ["ngram.arpa", "ngram.arpa.gz"])
def test_a_byte_order_mark_before_the_unigrams_is_no_part_of_them(arpa, name):
    marked = b"\xef\xbb\xbf" + ARPA[ARPA.index("\\1-grams:") :].encode()
    path = arpa.with_name(f"marked_{name}")
    path.write_bytes(gzip.compress(marked) if name.endswith(".gz") else marked)
    assert read_arpa(path, TOKENS).score([3, 4]) == read_arpa(arpa, TOKENS).score([3, 4])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("\\1-grams:\n-0.5 a b c d\n\\end\\\n", ":2"),
        ("\\2-grams:\n-0.5 a\n\\end\\\n", ":2"),
        ("\\1-grams:\nx a\n\\end\\\n", ":2"),
        ("\\1-grams:\n-0.5 a\n", "end"),
        ("\\1-grams:\n-0.5 word\n\\end\\\n", "tokens"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, named):
    path = tmp_path / "ngram.arpa"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=named):
        read_arpa(path, TOKENS)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("ngram.arpa", ARPA.replace("other", "你").encode("gbk"), "not UTF-8"),
        ("ngram.arpa.gz", ARPA.encode(), "gzip"),
        ("ngram.arpa.gz", gzip.compress(ARPA.encode())[:-40], "gzip"),
        ("ngram.arpa.gz", gzip.compress(ARPA.encode())[:30] + bytes(40), "gzip"),
    ],
    ids=["GBK", "not compressed", "cut short", "damaged"],
)
def test_a_file_that_cannot_be_decoded_is_named(tmp_path, name, content, named):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{named}(.|\n)*{name}"):
        read_arpa(tmp_path / name, TOKENS)


def bonuses(words, ids, vocab=10):
    """What every token of ``ids`` adds."""
    bias = HotwordBias(words, vocab, bonus=1.0)
    state = bias.start(1, torch.device("cpu"))
    added, last = [], 1
    for token in ids:
        scores, state = bias.step(torch.tensor([[last]]), state)
        added.append(float(scores[0, 0, token]))
        last = token
    return added


@pytest.mark.parametrize(
    ("ids", "added"),
    [
        ([3, 4, 5, 9], [1, 1, 1, 0]),  # a whole word keeps its bonus
        ([3, 4, 9], [1, 1, -2]),  # an unfinished one gives it back
        ([3, 3, 4, 5, 2], [1, 0, 1, 1, 0]),  # begun again
        ([6, 7, 9], [1, 1, 0]),
        ([6, 7, 8, 9], [1, 1, 1, -1]),  # 6 7 is a word, 6 7 8 only a beginning of another
        ([9, 2], [0, 0]),
    ],
)
def test_bonus_of_hot_words(ids, added):
    assert bonuses([[3, 4, 5], [6, 7], [6, 7, 8, 4]], ids) == added


def test_a_hot_word_inside_another_is_found():
    assert sum(bonuses([[3, 4, 5, 6], [4, 5]], [3, 4, 5, 9])) == 2


def recognize(folder, **options):
    with np.load(folder / "io.npz") as arrays:
        wave = arrays["in.wav1"].astype(np.float32) / 32768
    recognizer = load_recognizer(open_model_folder(folder), options=DecodeOptions(beam_size=6, **options))
    return recognizer.transcribe_nbest([wave])[0]


def test_an_ngram_that_likes_one_token_brings_it_in(tmp_path):
    folder = shutil.copytree(GOLDEN / "conformer", tmp_path / "model")
    token = open_model_folder(folder).tokens[7]
    (folder / "ngram.arpa").write_text(f"\\1-grams:\n-3 <unk>\n-0.01 {token}\n-1 </s>\n\\end\\\n", encoding="utf-8")
    plain, fused = recognize(folder)[0].tokens, recognize(folder, ngram_weight=3.0)[0].tokens
    assert plain.count(token) < fused.count(token)


def test_a_hot_word_is_recognized_more_often():
    plain = "".join(recognize(GOLDEN / "conformer")[0].tokens)
    word = plain[4:6]
    biased = "".join(recognize(GOLDEN / "conformer", hotword=word)[0].tokens)
    assert biased.count(word) > plain.count(word)
