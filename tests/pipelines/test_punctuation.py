"""``Tasks.punctuation`` as ModelScope's users call it."""

import json
from pathlib import Path

import pytest

from funrecipe.errors import DataError, UsageError
from funrecipe.pipelines import Tasks, pipeline

GOLDEN = Path(__file__).parents[1] / "data" / "parity"
TEXT = "女只也当来会来大大如 speech 么学为与但开已回"
ERA = "女只，也、当来会，来大？大？如、speech么学为。与但，开已回。"
LATER = "女只，也、当来会，来大？大？如、speech么学为。与但，开已回"


@pytest.fixture(scope="module")
def punctuate():
    return pipeline(task=Tasks.punctuation, model=GOLDEN / "punc_ct_transformer", ngpu=0)


@pytest.fixture(scope="module")
def realtime():
    return pipeline(task=Tasks.punctuation, model=GOLDEN / "punc_vad_realtime", ngpu=0, mode="punc_VadRealtime")


def test_a_text_by_the_rules_of_the_era_and_by_later_ones(punctuate):
    assert punctuate(text_in=TEXT) == {"key": "demo", "text": ERA}
    assert punctuate(text_in=TEXT, param_dict={"text_rules": "0.8"})["text"] == LATER
    later = pipeline(task=Tasks.punctuation, model=GOLDEN / "punc_ct_transformer", text_rules="0.8")
    assert later(text_in=TEXT)["text"] == LATER


def test_a_list_of_texts(punctuate):
    assert punctuate(text_in=[TEXT, ""]) == [{"key": "demo", "text": ERA}, {"key": "demo_2", "text": ""}]


def test_a_single_text_is_written_too(punctuate, tmp_path):
    assert punctuate(text_in=TEXT, output_dir=tmp_path) == {"key": "demo", "text": ERA}
    assert (tmp_path / "infer.out").read_text() == f"demo\t{ERA}\n"


def test_a_file_writes_the_original_file(punctuate, tmp_path):
    (tmp_path / "punc.txt").write_text(f"b\t{TEXT}\na\n")
    results = punctuate(text_in=tmp_path / "punc.txt", output_dir=tmp_path / "out")
    assert results == [{"key": "b", "text": ERA}, {"key": "a", "text": ""}]
    assert (tmp_path / "out" / "infer.out").read_text() == f"b\t{ERA}\na\t\n"


def test_a_file_that_contradicts_itself_is_an_error(punctuate, tmp_path):
    (tmp_path / "punc.txt").write_text("a 一\na 二\n")
    with pytest.raises(DataError, match="punc.txt:2: duplicate id 'a', first in line 1 with another value"):
        punctuate(text_in=str(tmp_path / "punc.txt"))


def test_a_stream_by_the_callers_cache(realtime):
    steps = json.loads((GOLDEN / "punc_vad_realtime" / "texts_out.json").read_text())
    param_dict = {"cache": []}
    for step in steps:
        assert param_dict["cache"] == step["cache_in"]
        assert realtime(text_in=step["text"], param_dict=param_dict)["text"] == step["result"]
    assert param_dict["cache"] == steps[-1]["cache_out"]


def test_a_realtime_model_punctuates_whole_texts_too(realtime):
    assert realtime(text_in="位 speech 多两 speech ")["text"].endswith("。")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"text_in": 3}, "a text of type int"),
        ({"text_in": TEXT, "param_dict": {"cache": []}}, "punctuates whole texts"),
        ({"text_in": TEXT, "param_dict": {"rules": "0.8"}}, "did you mean 'text_rules'"),
        ({"text_in": TEXT, "param_dict": {"text_rules": "1.0"}}, "give one of 0.7, 0.8, 1.4"),
    ],
    ids=str,
)
def test_wrong_calls(punctuate, call, message):
    with pytest.raises(UsageError, match=message):
        punctuate(**call)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"param_dict": {"cache": [], "text_rules": "0.8"}}, "text_rules has no effect on a stream"),
        ({"param_dict": {"cache": []}, "output_dir": "out"}, "a stream writes no files"),
    ],
    ids=str,
)
def test_what_a_stream_does_not_use_is_refused(realtime, call, message):
    with pytest.raises(UsageError, match=message):
        realtime(text_in=TEXT, **call)


def test_a_pipeline_has_no_cache_of_its_own():
    with pytest.raises(UsageError, match="unknown key 'cache'"):
        pipeline(task=Tasks.punctuation, model=GOLDEN / "punc_vad_realtime", param_dict={"cache": []})


@pytest.mark.parametrize("cache", [None, "", ["a", ""], [3]], ids=str)
def test_a_cache_that_is_not_one(realtime, cache):
    with pytest.raises(UsageError, match="cache is"):
        realtime(text_in=TEXT, param_dict={"cache": cache})


def test_a_mode_of_the_other_model_is_refused():
    with pytest.raises(UsageError, match="use punc$"):
        pipeline(task=Tasks.punctuation, model=GOLDEN / "punc_ct_transformer", mode="punc_VadRealtime")
