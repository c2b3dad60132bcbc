"""Texts to training ids and back: a recognizer that makes no mistake writes what was said, blanks included."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funrecipe.cli import main
from funrecipe.errors import DataError
from funrecipe.model_folder import open_model_folder
from funrecipe.score.scoring import score_texts
from funrecipe.text.postprocess import postprocess
from funrecipe.text.tokenizer import Tokenizer, read_seg_dict
from funrecipe.train.adapt.initialize import extend_tokens
from funrecipe.train.data.references import ReferenceTokenizer, splitter_of

PARAFORMER = Path(__file__).resolve().parents[1] / "data" / "parity" / "paraformer"


def token_list(tmp_path: Path, texts: dict[str, str], *flags: str) -> list[str]:
    data = tmp_path / "data"
    data.mkdir()
    with wave.open(str(data / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(32000))
    (data / "wav.scp").write_text("".join(f"{key} a.wav\n" for key in texts), "utf-8")
    (data / "text").write_text("".join(f"{key} {text}\n" for key, text in texts.items()), "utf-8")
    assert main(["tokens", "--data_dir", str(data), "--out", str(tmp_path / "tokens.txt"), *flags]) == 0
    return (tmp_path / "tokens.txt").read_text("utf-8").split("\n")[:-1]


def heard(tokens: list[str], text: str) -> str:
    """What a recognizer without errors writes."""
    spells_spaces = Tokenizer(tokens).spells_spaces or None
    return " ".join(
        postprocess([tokens[i] for i in ReferenceTokenizer(tokens)(text)], spells_spaces=spells_spaces).words
    )


@pytest.mark.parametrize(
    "texts",
    [
        {"u1": "men kitob oqidim", "u2": "salom dunyo", "u3": "we don't know"},
        {"u1": "Ein Haus am See", "u2": "süße Äpfel", "u3": "ein"},
        {"u1": "well-known words", "u2": "it's a dog's life"},
        {"u1": "привет мир", "u2": "как дела"},
        {"u1": "안녕 하세요", "u2": "감사 합니다"},
        {"u1": "bir iki üç", "u2": "İstanbul çok güzel"},
        {"u1": "在北京 hello world 你好 very good 吧", "u2": "my name is 小明 and i am fine"},
        {"u1": "今天天气好", "u2": "我们去吧"},
    ],
)
def test_what_is_said_comes_back_with_the_token_list_of_its_language(tmp_path: Path, texts: dict[str, str]) -> None:
    tokens = token_list(tmp_path, texts)
    hyps = {key: heard(tokens, text) for key, text in texts.items()}
    for unit in ("mixed", "char"):
        assert score_texts(texts, hyps, unit=unit).edits.errors == 0, hyps


def test_a_list_of_mostly_chinese_texts_says_which_blanks_it_loses(tmp_path: Path, caplog) -> None:
    texts = {"u1": "今天天气很好", "u2": "他说 thank you 再见", "u3": "我们走吧"}
    assert "<space>" not in token_list(tmp_path, texts)
    assert "1 of 3 texts hold spaces between words" in caplog.text and "--space true" in caplog.text


def test_the_blank_is_a_token_where_it_is_asked_for(tmp_path: Path) -> None:
    texts = {"u1": "今天天气很好", "u2": "他说 thank you 再见"}
    tokens = token_list(tmp_path, texts, "--space", "true")
    assert heard(tokens, texts["u2"]) == "他 说 thank you 再 见"


@pytest.mark.parametrize(
    "tokens, words",
    [
        (["s", "a", "l", "o", "m", "<space>", "d", "u", "n", "y", "o"], ["salom", "dunyo"]),
        (["▁we", "▁know", "▁some", "thing"], ["we", "know", "something"]),
        (["▁", "w", "e", "▁", "k"], ["we", "k"]),
        (["<sos/eos>", "<blank>", "▁hi", "<sos>", "<eos>", "<pad>"], ["hi"]),
        (["▁你", "好", "▁hel", "lo", "世", "界"], ["你", "好", "hello", "世", "界"]),
        (["▁caf", "<0xC3>", "<0xA9>"], ["café"]),
        (["<space>", "<space>"], []),
    ],
)
def test_tokens_that_spell_blanks_are_joined_into_words(tokens: list[str], words: list[str]) -> None:
    assert postprocess(tokens).words == words


def test_a_single_word_of_a_vocabulary_with_blanks_is_not_an_abbreviation() -> None:
    assert postprocess(["h", "i"]).words == ["HI"]
    assert postprocess(["h", "i"], spells_spaces=True).words == ["hi"]


def test_the_text_for_people_has_blanks_between_words_of_letters_only() -> None:
    assert postprocess(["▁hello", "▁world", "你", "好"]).text == "hello world你好"


def test_joined_words_span_their_tokens() -> None:
    timed = postprocess(["▁some", "thing", "<space>", "你"], [[0, 10], [10, 20], [20, 30], [30, 40]])
    assert (timed.words, timed.timestamp_ms) == (["something", "你"], [[0, 20], [30, 40]])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("abcdefg", min_size=1, max_size=5), min_size=1, max_size=6))
def test_words_of_letters_survive_every_list_that_spells_spaces(words: list[str]) -> None:
    text = " ".join(words)
    for space in ("<space>", "▁"):
        tokens = ["<blank>", "<s>", "</s>", space, *"abcdefg", "<unk>"]
        assert heard(tokens, text) == text
        assert heard([token.upper() if len(token) == 1 else token for token in tokens], text).lower() == text


WORDS = ["<blank>", "<s>", "</s>", "he@@", "llo", "你", "说", "<unk>"]


def folder_with_words(tmp_path: Path, seg_dict: str = "hello he@@ llo\n"):
    (tmp_path / "seg_dict").write_text(seg_dict, "utf-8")
    return replace(open_model_folder(PARAFORMER), tokens=tuple(WORDS), seg_dict=tmp_path / "seg_dict")


def test_words_that_a_spelling_dictionary_lacks_are_counted_by_the_word(tmp_path: Path) -> None:
    tokenizer = ReferenceTokenizer(WORDS, splitter_of(folder_with_words(tmp_path)))
    assert tokenizer("你说 KD hello") == (5, 6, 7, 3, 4)
    assert tokenizer("wifi, 说 (Wifi) 你说iphone吗") == (7, 6, 7, 5, 6, 7, 7)
    assert tokenizer.unknown == {"kd": 1, "wifi": 2, "iphone": 1, "吗": 1}
    assert set(tokenizer.dropped) == {",", "(", ")"}


def test_extend_vocab_learns_the_words_that_became_unknown(tmp_path: Path) -> None:
    folder = folder_with_words(tmp_path)
    tokenizer = ReferenceTokenizer(WORDS, splitter_of(folder))
    tokenizer("说 wifi")
    tokens = extend_tokens(WORDS, tokenizer.unknown)
    longer = ReferenceTokenizer(tokens, splitter_of(replace(folder, tokens=tuple(tokens))))
    assert [tokens[i] for i in longer("说 WiFi")] == ["说", "wifi"]
    assert not longer.unknown


def test_a_hot_word_that_cannot_be_spelled_is_missing_not_unknown(tmp_path: Path) -> None:
    (tmp_path / "seg_dict").write_text("hello he@@ llo\n", "utf-8")
    tokenizer = Tokenizer(WORDS, read_seg_dict(tmp_path / "seg_dict"))
    assert tokenizer.missing("zebra") == ["zebra"]
    assert tokenizer.missing("hello你") == []


def test_word_pieces_without_their_model_are_refused_for_training(tmp_path: Path) -> None:
    folder = replace(open_model_folder(PARAFORMER), tokens=("<blank>", "▁we", "▁some", "thing", "<unk>"))
    with pytest.raises(DataError, match="word pieces"):
        splitter_of(folder)


def test_hot_words_are_spelled_in_pieces_and_with_blanks() -> None:
    pieces = Tokenizer(["<blank>", "▁some", "thing", "▁new", "▁york", "<unk>"])
    assert pieces.tokens_of(pieces.encode("something New York")) == ["▁some", "thing", "▁new", "▁york"]
    letters = Tokenizer(["<blank>", "<space>", *"newyork", "<unk>"])
    assert letters.tokens_of(letters.encode("New York")) == ["n", "e", "w", "<space>", "y", "o", "r", "k"]


@pytest.mark.parametrize("written", ["<unk>", "<UNK>"])
def test_an_unknown_token_in_a_text_is_that_token_not_its_letters(written: str, tmp_path: Path) -> None:
    texts = {"a": f"今天{written}好", "b": f"{written} 你 {written}"}
    tokens = token_list(tmp_path, texts)
    assert tokens == ["<blank>", "<s>", "</s>", *sorted("今天好你"), "<unk>"]
    tokenizer = ReferenceTokenizer([*tokens[:-1], *"unk", "<unk>"])
    assert [[tokenizer.tokens[i] for i in tokenizer(text)] for text in texts.values()] == [
        ["今", "天", "<unk>", "好"],
        ["<unk>", "你", "<unk>"],
    ]
    assert not tokenizer.unknown and not tokenizer.glued and tokenizer.num_tokens == 7
