"""SenseVoice: languages, tags as fields, the three outputs, times; what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.decode.timestamps import align_tokens, spans_ms, token_spans
from funrecipe.errors import DataError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.pipelines import Tasks, pipeline

FOLDER = Path(__file__).parents[1] / "data/parity/sensevoice_small"
TEXTS = json.loads((FOLDER / "texts.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    with np.load(FOLDER / "io.npz") as arrays:
        return [arrays[f"in.wav{i}"].astype(np.float32) / 32768 for i in range(6)]


def transcribe(waves: list[np.ndarray], **options: object):
    recognizer = load_recognizer(open_model_folder(FOLDER), options=DecodeOptions(**options))
    return recognizer.transcribe(waves)


def test_plain_texts_have_blanks_between_characters_and_no_tags(waves: list[np.ndarray]) -> None:
    found = transcribe(waves)
    assert [hypothesis.text for hypothesis in found] == [
        "今 天 天 气 很 好 我 们 去 公 园",
        "the weather is good today",
        "我 哋 食 咗 飯 啦",
        "こ れ は 二 十 円 で す",
        "안녕 하세요",
        "打 开 wifi 连 接 三 个 手 机",
    ]
    assert [(h.rich["language"], h.rich["emotion"], h.rich["event"]) for h in found] == [
        ("zh", "NEUTRAL", "Speech"),
        ("en", "HAPPY", "Speech"),
        ("yue", "ANGRY", "BGM"),
        ("ja", "SAD", "Speech"),
        ("ko", "EMO_UNKNOWN", "Laughter"),
        ("zh", "NEUTRAL", "Applause"),
    ]


@pytest.mark.parametrize("output, kind", [("rich", "text"), ("emoji", "rich")])
def test_tags_are_kept_or_drawn_when_asked_for(waves: list[np.ndarray], output: str, kind: str) -> None:
    found = transcribe(waves, output=output, use_itn=True)
    assert [hypothesis.text for hypothesis in found] == [TEXTS[f"u{i}.auto.withitn"][kind] for i in range(6)]


def test_every_token_has_its_time(waves: list[np.ndarray]) -> None:
    for i, hypothesis in enumerate(transcribe(waves)):
        assert hypothesis.timestamp_ms == TEXTS[f"u{i}.auto.woitn"]["direct"]["piece_times"]
        assert len(hypothesis.tokens) == len(hypothesis.timestamp_ms)


def test_a_batch_gives_what_each_utterance_gives_alone(waves: list[np.ndarray]) -> None:
    together = transcribe(waves)
    for wave, hypothesis in zip(waves, together):
        alone = transcribe([wave])[0]
        assert (alone.tokens, alone.timestamp_ms, alone.rich) == (
            hypothesis.tokens,
            hypothesis.timestamp_ms,
            hypothesis.rich,
        )
        assert alone.score == pytest.approx(hypothesis.score, abs=1e-4)


def test_an_unknown_language_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"language is 'de'(.|\n)*yue"):
        transcribe([], language="de")


def test_another_output_or_switch_is_refused() -> None:
    with pytest.raises(UsageError, match="output"):
        DecodeOptions(output="html")
    with pytest.raises(UsageError, match="use_itn"):
        DecodeOptions(use_itn="yes")  # type: ignore[arg-type]


def test_options_of_sense_voice_are_refused_by_other_families() -> None:
    folder = open_model_folder(FOLDER.parent / "paraformer")
    with pytest.raises(UsageError, match="language='zh' has no effect"):
        load_recognizer(folder, options=DecodeOptions(language="zh"))


def test_the_pipeline_gives_the_tags_as_fields(waves: list[np.ndarray]) -> None:
    recognize = pipeline(Tasks.auto_speech_recognition, FOLDER, ngpu=0, use_itn=True)
    result = recognize(waves[1], audio_fs=16000)
    assert (result["text"], result["language"], result["emotion"], result["event"]) == (
        "The weather is good today.",
        "en",
        "HAPPY",
        "Speech",
    )
    assert len(result["timestamp"]) == len(result["tokens"])
    tagged = recognize(waves[1], audio_fs=16000, param_dict={"output": "rich"})
    assert tagged["text"] == "<|en|><|HAPPY|><|Speech|><|withitn|>The weather is good today."


def test_the_vocabulary_may_be_in_the_sentence_piece_model_alone(waves: list[np.ndarray], tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "model", ignore=shutil.ignore_patterns("io.npz", "tokens.json"))
    assert open_model_folder(folder).tokens == open_model_folder(FOLDER).tokens
    found = load_recognizer(open_model_folder(folder)).transcribe(waves[:1])
    assert found[0].rich["text"] == "今天天气很好我们去公园"


def test_a_vocabulary_of_another_model_is_an_error(tmp_path: Path, waves: list[np.ndarray]) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "model", ignore=shutil.ignore_patterns("io.npz"))
    tokens = json.loads((folder / "tokens.json").read_text("utf-8"))
    (folder / "tokens.json").write_text(json.dumps([*tokens, "one more"]), "utf-8")
    with pytest.raises(DataError, match=f"{len(tokens)} pieces, the vocabulary {len(tokens) + 1}"):
        _ = open_model_folder(folder).tokenizer.processor


def test_the_best_path_spells_the_tokens_and_repeats_need_a_blank() -> None:
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(9, 4, generator=generator).log_softmax(-1).numpy()
    for ids in ([1, 1, 2], [3], [1, 2, 3, 1], []):
        path = align_tokens(log_probs, ids)
        spans = token_spans(path)
        assert [int(path[start]) for start, _ in spans] == ids
    assert spans_ms([(0, 1), (4, 9)], 9, 60) == [[0, 30], [210, 510]]
