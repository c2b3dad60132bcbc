"""Words, marks and texts; the numbers are held by the golden cases ``punc_*``."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.punctuation.punctuator import Punctuator, load_punctuator
from funrecipe.punctuation.words import split_words, word_splitter

GOLDEN = Path(__file__).parents[1] / "data" / "parity"
OFFLINE, REALTIME = GOLDEN / "punc_ct_transformer", GOLDEN / "punc_vad_realtime"
MARKS = ["<unk>", "_", "，", "。", "？", "、"]
NONE, COMMA, PERIOD, QUESTION = 1, 2, 3, 4


class Network:
    """Gives each word the mark of ``marks``, in the order of all words of the text."""

    realtime = True

    def __init__(self, words, marks):
        self.rows = {i: mark for i, mark in enumerate(marks)}
        self.seen = []

    def __call__(self, ids, lens, known=0):
        self.seen.append((ids[0].tolist(), known))
        return torch.nn.functional.one_hot(torch.tensor([[self.rows[i] for i in ids[0].tolist()]]), 6).float()


def punctuator_of(words, marks):
    """A punctuator of words that are all different, with these marks after them."""
    network = Network(words, marks)
    return Punctuator(network, {word: i for i, word in enumerate(words)}, MARKS), network


def text_of(words):
    return "".join(f" {word} " if word.isascii() else word for word in words)


def test_words_are_characters_and_runs_of_ascii_between_blanks():
    assert split_words(" 今天 hello  world吧it's3.5元") == ["今", "天", "hello", "world", "吧", "it's3.5", "元"]
    assert split_words("  ") == []


@pytest.mark.parametrize(
    ("rules", "text"),
    [("0.7", "你好，hello world？ ok。"), ("0.8", "你好，hello world? Ok."), ("1.4", "你好，hello world? Ok.")],
)
def test_english_words_by_the_rules_of_each_version(rules, text):
    words = ["你", "好", "hello", "world", "ok"]
    punctuator, _ = punctuator_of(words, [NONE, COMMA, NONE, QUESTION, NONE])
    result = punctuator.punctuate(text_of(words), rules)
    assert result.text == text
    assert result.marks == ["_", "，", "_", "？", "。"]


@pytest.mark.parametrize(("rules", "text"), [("0.7", "天气好。"), ("0.8", "天气好"), ("1.4", "天气好。")])
def test_a_chinese_end_without_a_mark(rules, text):
    punctuator, _ = punctuator_of(["天", "气", "好"], [NONE, NONE, NONE])
    result = punctuator.punctuate("天气好", rules)
    assert result.text == text
    assert result.mark_ids == [NONE, NONE, PERIOD if text.endswith("。") else NONE]


@pytest.mark.parametrize("rules", ["0.7", "0.8", "1.4"])
def test_a_comma_at_the_end_becomes_a_period(rules):
    punctuator, _ = punctuator_of(["天", "气", "好"], [NONE, NONE, COMMA])
    result = punctuator.punctuate("天气好", rules)
    assert (result.text, result.mark_ids[-1]) == ("天气好。", PERIOD)


@pytest.mark.parametrize("text", ["", "  \t"])
def test_an_empty_text_stays_empty(text):
    punctuator, _ = punctuator_of(["天"], [NONE])
    assert punctuator.punctuate(text).text == ""


def test_the_network_sees_what_follows_the_last_sentence_and_20_words_more():
    words = [chr(0x4E00 + i) for i in range(50)]
    marks = [PERIOD if i in (9, 27) else NONE for i in range(50)]
    punctuator, network = punctuator_of(words, marks)
    result = punctuator.punctuate("".join(words))
    assert [(ids[0], ids[-1]) for ids, _ in network.seen] == [(0, 19), (10, 39), (28, 49)]
    assert result.mark_ids == [*marks[:-1], PERIOD]
    assert result.words == words


def test_a_sentence_of_more_than_200_words_is_ended_at_its_last_comma():
    words = [chr(0x4E00 + i) for i in range(260)]
    marks = [COMMA if i in (50, 150) else NONE for i in range(260)]
    punctuator, _ = punctuator_of(words, marks)
    result = punctuator.punctuate("".join(words))
    assert [i for i, mark in enumerate(result.mark_ids) if mark == PERIOD] == [150, 259]
    assert [i for i, mark in enumerate(result.mark_ids) if mark == COMMA] == [50]


def test_a_stream_shows_the_mark_of_the_last_word_when_the_next_text_comes():
    words = list("今天很好吗是的他说")
    marks = [NONE, NONE, NONE, NONE, QUESTION, NONE, PERIOD, NONE, COMMA]
    punctuator, network = punctuator_of(words, marks)
    added, shown, cache = punctuator.feed("今天很好吗", [])
    assert (added, shown, cache) == ("今天很好吗", ["_"] * 5, list("今天很好吗"))
    added, shown, cache = punctuator.feed("是的他说", cache)
    assert (added, shown) == ("？是的。他说", ["？", "_", "。", "_", "_"])
    assert cache == ["他", "说"]
    assert network.seen[-1][1] == 5


def test_nothing_new_in_a_stream_changes_nothing():
    punctuator, _ = punctuator_of(["今", "天"], [NONE, NONE])
    assert punctuator.feed("", []) == ("", [], [])
    assert punctuator.feed("  ", ["今", "天"]) == ("", [], ["今", "天"])


def test_words_that_the_model_does_not_know_are_punctuated_too():
    punctuator = load_punctuator(open_model_folder(OFFLINE))
    result = punctuator.punctuate("未知字符abc123混合")
    assert result.words == ["未", "知", "字", "符", "abc123", "混", "合"]


def test_a_folder_of_funasr_1x_is_the_same_model(tmp_path):
    config = yaml.safe_load((OFFLINE / "punc.yaml").read_text())
    conf = config["punctuation_conf"]
    encoder_conf = {
        "input_size": conf["embed_unit"],
        "output_size": conf["att_unit"],
        "attention_heads": conf["head"],
        "linear_units": conf["unit"],
        "num_blocks": conf["layer"],
        "kernel_size": 11,
        "sanm_shfit": 0,
    }
    one_x = {
        "model": "CTTransformer",
        "model_conf": {"embed_unit": 32, "att_unit": 32, "dropout_rate": 0.0, "punc_list": config["punc_list"]},
        "encoder": "SANMEncoder",
        "encoder_conf": encoder_conf,
        "tokenizer": "CharTokenizer",
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(one_x, allow_unicode=True))
    (tmp_path / "tokens.json").write_text(json.dumps(config["token_list"]))
    state = torch.load(OFFLINE / "punc.pb", weights_only=True)
    torch.save({name.removeprefix("punc_model."): tensor for name, tensor in state.items()}, tmp_path / "model.pt")
    text = "女只也当来会来大大如 speech 么学为与但开已回"
    ours = load_punctuator(open_model_folder(tmp_path)).punctuate(text, "0.8")
    assert ours.text == "女只，也、当来会，来大？大？如、speech么学为。与但，开已回"


def test_other_models_and_rules_are_refused():
    with pytest.raises(UsageError, match="family 'paraformer' does not punctuate"):
        load_punctuator(open_model_folder(GOLDEN / "paraformer"))
    punctuator, _ = punctuator_of(["天"], [NONE])
    with pytest.raises(UsageError, match="give one of 0.7, 0.8, 1.4"):
        punctuator.punctuate("天", "2.0")
    with pytest.raises(UsageError, match="punc_list has no 。"):
        Punctuator(Network([], []), {}, ["_", "，"])


def test_a_model_of_whole_words_names_what_it_needs(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="dictionary of Chinese words is missing"):
        word_splitter(tmp_path / "jieba_usr_dict")
    (tmp_path / "jieba_usr_dict").write_text("天气 10\n")
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(UsageError, match=r"funrecipe\[jieba\]"):
        word_splitter(tmp_path / "jieba_usr_dict")


def test_whole_words_and_english_between_them(tmp_path):
    pytest.importorskip("jieba")
    (tmp_path / "jieba_usr_dict").write_text("口凡木 1000000\n")
    words = word_splitter(tmp_path / "jieba_usr_dict")("我 用 口 凡 木 hello it's 好")
    assert words == ["我", "用", "口凡木", "hello", "it's", "好"]


def test_weights_of_another_model_are_refused(tmp_path):
    shutil.copytree(OFFLINE, tmp_path / "punc")
    state = torch.load(OFFLINE / "punc.pb", weights_only=True)
    del state["punc_model.decoder.bias"]
    torch.save(state, tmp_path / "punc" / "punc.pb")
    with pytest.raises(DataError, match="missing: punc_model.decoder.bias"):
        load_punctuator(open_model_folder(tmp_path / "punc"))
