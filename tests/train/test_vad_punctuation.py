"""Punctuation and VAD models in the loop that recognizers are trained in: data, validation, resuming, the result."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_corpus import write_recordings, write_texts

from funrecipe import ASRDataset, Trainers, build_trainer
from funrecipe.errors import DataError, FunrecipeError, UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.pipelines import Tasks, pipeline
from funrecipe.score.segments import VadErrors, score_segments
from funrecipe.train.data.batching import collate
from funrecipe.train.data.dataset import TrainItem, frame_labels
from funrecipe.train.data.marked_text import MarkedTextReader, inspect_marked_text
from funrecipe.train.loop import Trainer
from funrecipe.train.measures import measure_of
from funrecipe.train.pack import pack_model
from funrecipe.train.progress_log import read_json_lines
from funrecipe.train.run import train

PARITY = Path(__file__).parents[1] / "data" / "parity"
OFFLINE, REALTIME, VAD = (str(PARITY / name) for name in ("punc_ct_transformer", "punc_vad_realtime", "fsmn_vad"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts")
    write_texts(root / "train", 1, 80)
    write_texts(root / "validation", 2, 10)
    return root


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    write_recordings(root / "train", 1, 8)
    write_recordings(root / "validation", 2, 3)
    return root


def flags(model: str, data: Path, output_dir: Path, **more: Any) -> dict[str, Any]:
    sizes = (1300, 0.003, 12) if model == VAD else (200, 0.01, 8)
    return {"model": model, "data_dir": str(data), "output_dir": str(output_dir), "num_workers": 0, "seed": 3,
            "keep_nbest_models": 2, **dict(zip(("batch_bins", "lr", "max_epoch"), sizes)), **more}  # fmt: skip


@pytest.fixture(scope="module")
def runs(texts: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a finished run of a model; made once."""
    root, done = tmp_path_factory.mktemp("runs"), dict[str, Path]()

    def run(model: str) -> Path:
        if model not in done:
            done[model] = root / Path(model).name
            train(flags(model, recordings if model == VAD else texts, done[model]))
        return done[model]

    return run


def losses(output_dir: Path) -> list[float]:
    return [record["loss"] for record in read_json_lines(output_dir / "steps.jsonl")]


@pytest.mark.parametrize("model", [OFFLINE, REALTIME])
def test_marks_that_follow_from_the_words_are_learned(model: str, runs: Callable[[str], Path]) -> None:
    last = read_json_lines(runs(model) / "metrics.jsonl")[-1]
    assert last["valid.acc"] > 0.98
    assert min(last[f"valid.f1_{name}"] for name in ("comma", "period", "question", "any")) > 0.95
    assert "valid.f1_enumeration" not in last  # neither wanted nor found


def test_speech_is_learned(runs: Callable[[str], Path]) -> None:
    last = read_json_lines(runs(VAD) / "metrics.jsonl")[-1]
    assert last["valid.acc"] > 0.98
    assert last["valid.frame_error"] < 0.15  # segments are extended by 0.2 s before and 0.1 s after the speech
    assert last["valid.miss"] < 0.01


def test_the_result_punctuates(runs: Callable[[str], Path]) -> None:
    punctuate = pipeline(task=Tasks.punctuation, model=str(runs(OFFLINE)))
    assert punctuate(text_in="我来么你生想的好大了")["text"] == "我来么？你生想的，好大了。"
    realtime, param_dict = pipeline(task=Tasks.punctuation, model=str(runs(REALTIME))), {"cache": []}
    said = [realtime(text_in=text, param_dict=param_dict)["text"] for text in ("我来么你生想", "的好大了我去了")]
    assert "".join(said).startswith("我来么？你生想的，好大了。我去了")


def test_the_result_finds_speech(runs: Callable[[str], Path], recordings: Path) -> None:
    detect = pipeline(task=Tasks.voice_activity_detection, model=str(runs(VAD)))
    before = pipeline(task=Tasks.voice_activity_detection, model=VAD)
    ref = dict(line.split(" ", 1) for line in (recordings / "validation/segments.ref").read_text().splitlines())
    errors, untrained = VadErrors(), VadErrors()
    for key, spans in ref.items():
        wav = str(recordings / "validation" / f"{key}.wav")
        errors += score_segments(json.loads(spans), detect(audio_in=wav)["text"], 4000)
        untrained += score_segments(json.loads(spans), before(audio_in=wav).get("text", []), 4000)
    assert errors.miss_rate < 0.01
    assert errors.frame_error_rate < 0.15 < untrained.frame_error_rate


@pytest.mark.parametrize("model", [OFFLINE, REALTIME, VAD])
def test_killed_and_resumed_equals_undisturbed(
    model: str,
    runs: Callable[[str], Path],
    tmp_path: Path,
    texts: Path,
    recordings: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed = losses(runs(model))
    settings = flags(model, recordings if model == VAD else texts, tmp_path, save_interval=2)
    plain, updates = Trainer.update, itertools.count()

    def killed(self: Trainer, batches: Any) -> None:
        if next(updates) == len(undisturbed) // 2:
            raise KeyboardInterrupt
        plain(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    assert len(losses(tmp_path)) == len(undisturbed) // 2
    train(settings)
    assert losses(tmp_path) == undisturbed
    name = "valid.acc.ave_2best.pb"
    ours, theirs = (torch.load(d / name, weights_only=True) for d in (tmp_path, runs(model)))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("model", [OFFLINE, VAD])
def test_a_packed_result_is_a_model_folder(model: str, runs: Callable[[str], Path], tmp_path: Path) -> None:
    packed = open_model_folder(pack_model(runs(model), "valid.acc.ave.pb", tmp_path / "packed"))
    assert packed.family == open_model_folder(model).family
    assert packed.tokens == open_model_folder(model).tokens
    task = Tasks.voice_activity_detection if model == VAD else Tasks.punctuation
    pipeline(task=task, model=str(packed.path))


@pytest.mark.parametrize(
    ("text", "words", "marks"),
    [
        ("今天好，真的？", "今 天 好 真 的", "_ _ ， _ ？"),
        ("今天好!真的...", "今 天 好 真 的", "_ _ 。 _ 。"),  # ！ is not a mark of the model
        ("「今天」、《hello world》；a,b", "今 天 hello world a b", "_ 、 _ ， ， _"),
        ("，。", "", ""),
        ("it's 3.5, OK", "it's 3.5 ok", "_ ， _"),
        ('he said "Hello." Hello', "he said hello hello", "_ _ 。 _"),
    ],
)
def test_words_and_marks_of_a_text(text: str, words: str, marks: str) -> None:
    folder = open_model_folder(OFFLINE)
    reader = MarkedTextReader(folder)
    ids, mark_ids = reader.read(text)
    known = [word if word in folder.tokens else "<unk>" for word in words.split()]
    assert [folder.tokens[i] for i in ids] == known
    assert [folder.config["punc_list"][i] for i in mark_ids] == marks.split()


def test_lists_of_words_and_marks_as_funasr_takes_them(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a 我 来 么 vad:2\nb 好 大\nc 好 大 vad:\nd 好\n")
    (tmp_path / "punc").write_text("a _ _ ？\nb _ ;\nc _ .\nd _ _\n")
    found = inspect_marked_text(tmp_path, MarkedTextReader(open_model_folder(REALTIME)), max_tokens=200)
    marks = open_model_folder(REALTIME).config["punc_list"]
    assert [(i.key, [marks[m] for m in i.labels], i.known) for i in found.items] == [
        ("a", ["_", "_", "？"], 2), ("b", ["_", "，"], -1), ("c", ["_", "。"], 0),
    ]  # fmt: skip
    assert found.dropped == {"not as many marks in 'punc' as words in 'text'": ["d"]}
    batch = collate([item.example(torch.zeros(1, 1)) for item in found.items])
    assert batch.labels is not None and batch.known is not None
    assert (batch.labels.shape, batch.known.tolist()) == ((3, 3), [2, -1, 0])
    (tmp_path / "text").write_text("a 我 来 么 vad:x\n")
    with pytest.raises(DataError, match="'vad:x' is not 'vad:' and a number of words"):
        inspect_marked_text(tmp_path, MarkedTextReader(open_model_folder(REALTIME)), max_tokens=200)


def test_a_frame_is_speech_if_its_middle_is() -> None:
    assert frame_labels(((20.0, 44.0), (60.0, 61.0), (90.0, 100.0)), 100.0, 10) == [0, 0, 1, 1, 0, 0, 0, 0, 0, 1]
    assert frame_labels(((50.0, 100.0),), 100.0, 4) == [0, 0, 1, 1]  # twice as fast
    assert frame_labels((), 100.0, 3) == [0, 0, 0]


def test_recordings_are_cut_into_pieces_that_know_their_speech(tmp_path: Path, recordings: Path) -> None:
    data = Path(shutil.copytree(recordings, tmp_path / "data"))
    (data / "train/segments.ref").unlink()
    lines = ["r0 1 0.5 3.0 <NA> <NA> a", "r0 1 1.0 2.9 <NA> <NA> b", "r1 1 0.0 9.0 <NA> <NA> a", "r2 1 0 1 <NA> <NA> a"]
    (data / "train/rttm").write_text("".join(f"SPEAKER {line} <NA> <NA>\n" for line in lines))
    train(flags(VAD, data, tmp_path / "out", max_steps=1, max_ms=1500, batch_bins=100, max_bad_share=0.5))
    log = (tmp_path / "out/train.log.0").read_text()
    assert "train: 21 of 22 utterances usable" in log
    assert "dropped 1: speech past the end of the audio (r1)" in log
    assert "5 of 8 recordings have no speech" in log


@pytest.mark.parametrize(
    ("source", "content", "speech"),
    [
        ("rttm", "SPEAKER r0 1 1.0 0.5 <NA> <NA> a <NA> <NA>\nSPEAKER r2 1 0 9 <NA> <NA> a <NA> <NA>\n", "r2"),
        ("segments", "u1 r0 1.0 1.5\nu2 r2 0 9\nu3 r1 3.0 -1\n", "r2"),
    ],
)
def test_every_way_to_say_where_speech_is(
    source: str, content: str, speech: str, tmp_path: Path, recordings: Path
) -> None:
    data = Path(shutil.copytree(recordings, tmp_path / "data"))
    (data / "train/segments.ref").unlink()
    (data / "train" / source).write_text(content)
    train(flags(VAD, data, tmp_path / "out", max_bad_share=0.5), check="data")
    assert f"dropped 1: speech past the end of the audio ({speech})" in (tmp_path / "out/train.log.0").read_text()


@pytest.mark.parametrize("model", [OFFLINE, VAD])
def test_scripts_train_them_through_the_facade(model: str, tmp_path: Path, texts: Path, recordings: Path) -> None:
    settings = flags(model, recordings if model == VAD else texts, tmp_path) | {"max_steps": 2}
    del settings["output_dir"]
    data_dir = ASRDataset.load(settings.pop("data_dir"))
    build_trainer(Trainers.speech_asr_trainer, {**settings, "data_dir": data_dir, "work_dir": str(tmp_path)}).train()
    assert len(losses(tmp_path)) == 2 and (tmp_path / "config.yaml").is_file()
    with pytest.raises(UsageError, match="dataset_type large"):
        large = {**settings, "data_dir": data_dir, "work_dir": str(tmp_path / "large"), "dataset_type": "large"}
        build_trainer(Trainers.speech_asr_trainer, large).train()


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        (OFFLINE, {"batch_unit": "ms"}, "family 'punc' cannot be trained with batch_unit ms and dataset_type small"),
        (VAD, {"batch_unit": "tokens"}, "family 'e2evad' cannot be trained with batch_unit tokens"),
        (VAD, {"dataset_type": "large"}, "cannot be trained with batch_unit ms and dataset_type large"),
        (OFFLINE, {"speed_perturb": [0.9]}, "speed_perturb has no effect on models of family 'punc'"),
        (VAD, {"phone_ctc_weight": 0.2}, "phone_ctc_weight has no effect on models of family 'e2evad'"),
        (OFFLINE, {"model_conf": {"lsm_weight": 0.1}}, "have no setting 'lsm_weight'"),
        (OFFLINE, {"model_conf": {"punc_weight": "heavy"}}, "punc_weight is 'heavy'"),
        (VAD, {"model_conf": {"lsm_weight": 0.1}}, "model_conf has no effect on models of family 'e2evad'"),
        (VAD, {"data_dir": "texts"}, r"(?s)no file 'wav\.scp' in the data directory.*one line per recording: ID PATH"),
        (OFFLINE, {"best_model_criterion": [["valid", "cer_decode", "min"]]}, "no value valid.cer_decode"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(
    model: str, more: dict[str, Any], said: str, tmp_path: Path, texts: Path, recordings: Path
) -> None:
    data = recordings if model == VAD else texts
    if more.get("data_dir"):
        more = {**more, "data_dir": str(texts)}
    with pytest.raises(FunrecipeError, match=said):
        train(flags(model, data, tmp_path / "out") | more)


def test_recordings_without_a_reference_and_references_without_recordings(tmp_path: Path, recordings: Path) -> None:
    data = Path(shutil.copytree(recordings, tmp_path / "data"))
    with (data / "train/segments.ref").open("a") as ref:
        ref.write("r9 []\n")
    with pytest.raises(DataError, match=r"(?s)1 recording not in wav\.scp.*r9"):
        train(flags(VAD, data, tmp_path / "out"))
    (data / "train/segments.ref").unlink()
    with pytest.raises(DataError, match=r"(?s)no file says where there is speech.*write rttm, segments\.ref"):
        train(flags(VAD, data, tmp_path / "out"))


def test_new_words_join_the_vocabulary(tmp_path: Path, texts: Path) -> None:
    data = Path(shutil.copytree(texts, tmp_path / "data"))
    with (data / "train/text").open("a") as text:
        text.write("z 龙 Dragon 来了。\n")
    train(flags(OFFLINE, data, tmp_path / "out", max_steps=1, extend_vocab=True))
    tokens = open_model_folder(tmp_path / "out").tokens
    assert tokens == (*open_model_folder(OFFLINE).tokens[:-1], "dragon", "龙", "<unk>")
    pipeline(task=Tasks.punctuation, model=str(tmp_path / "out"))(text_in="龙来了")


def test_a_vad_model_from_scratch_needs_no_tokens(tmp_path: Path, recordings: Path) -> None:
    settings = flags(VAD, recordings, tmp_path / "out", max_steps=1)
    del settings["model"]
    train({**settings, "config": f"{VAD}/vad.yaml", "cmvn_file": f"{VAD}/vad.mvn"})
    assert open_model_folder(tmp_path / "out").tokens == ()


def test_segments_are_measured_as_the_scorer_measures_them() -> None:
    folder = open_model_folder(VAD)
    measure = measure_of(folder)
    assert measure is not None
    item = TrainItem("a", "", (), 6000.0, speech_ms=((1000.0, 4000.0),))
    batch = collate([item.example(torch.zeros(600, 400))])

    def network(feats: torch.Tensor) -> tuple[torch.Tensor, None]:
        speech = torch.zeros(1, 600)
        speech[0, 150:400] = 1.0  # half a second late
        return torch.stack((1 - speech, speech), dim=-1), None

    values = measure.values(measure.count(network, batch, [0]))  # type: ignore[arg-type]
    # The detector starts 0.2 s (lookback) before, and ends 0.1 s (lookahead) after the window has faded.
    missed, false_alarm = values["miss"] * 3000, values["false_alarm"] * 3000
    assert missed == pytest.approx(300, abs=60)
    assert 0 < false_alarm <= 300
    assert values["frame_error"] == pytest.approx((missed + false_alarm) / 6000)
    assert measure.count(network, batch, []) == [0.0] * 4  # type: ignore[arg-type]
    assert measure.values([0.0] * 4) == {}


def test_an_unknown_mark_counts_as_none(tmp_path: Path) -> None:
    reader = MarkedTextReader(open_model_folder(OFFLINE))
    assert reader.encode(["我"], ["#"])[1] == (reader.mark_ids["_"],)
    assert reader.unmarked == {"#": 1}
    config = {**open_model_folder(OFFLINE).config, "punc_list": ["，", "。"]}
    folder = open_model_folder(OFFLINE)
    object.__setattr__(folder, "config", config)
    with pytest.raises((DataError, UsageError), match="punc_list has no _"):
        MarkedTextReader(folder)


def test_a_run_that_nothing_ranks_ends_with_its_first_epoch_and_loses_nothing(texts: Path, tmp_path: Path) -> None:
    """No text has an enumeration comma: its F1 is a value of this model, but of no epoch."""
    settings = flags(OFFLINE, texts, tmp_path, max_epoch=1)
    with pytest.raises(DataError, match=r"nothing to measure valid\.f1_enumeration on.*\s+do: .*valid\.f1_any"):
        train({**settings, "max_epoch": 9, "best_model_criterion": [("valid", "f1_enumeration", "max")]})
    made = losses(tmp_path)
    train({**settings, "best_model_criterion": [("valid", "f1_any", "max")]})
    assert losses(tmp_path) == made != []
    assert open_model_folder(tmp_path).weights.name == "valid.f1_any.ave.pb"
