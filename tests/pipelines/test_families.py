"""Every row of the table of families, on a tiny model: pipeline, jobs, export, training; batch 1 equals 8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from funrecipe.cli import main
from funrecipe.export.folder import export_folder
from funrecipe.families import FAMILIES, names_with
from funrecipe.jobs.plan import read_plan
from funrecipe.jobs.worker import load_planned, run_jobs
from funrecipe.model_folder import open_model_folder
from funrecipe.pipelines import Tasks, pipeline
from funrecipe.train.run import train

ROOT = Path(__file__).resolve().parents[2]
PARITY = ROOT / "tests/data/parity"
RECOGNIZERS = names_with("search")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Tones in noise of very different lengths, the shortest below a feature window, and synthetic speech."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    lines = []
    for number, seconds in enumerate((1.9, 0.005, 0.7, 2.6, 1.2)):
        time_s = np.arange(int(seconds * 16000)) / 16000
        tones = np.sin(2 * np.pi * time_s * (300 + 400 * np.sin(2 * np.pi * 1.3 * time_s + number)))
        soundfile.write(folder / f"u{number}.wav", 0.2 * tones + 0.02 * rng.standard_normal(len(time_s)), 16000)
        lines.append(f"u{number} u{number}.wav\n")
    with np.load(ROOT / "tests/data/parity/sensevoice_small/io.npz") as arrays:
        soundfile.write(folder / "u5.wav", arrays["in.wav1"], 16000)
    lines.append("u5 u5.wav\n")
    (folder / "wav.scp").write_text("".join(lines))
    return folder


def written(folder):
    def read(name):
        lines = (folder / "1best_recog" / name).read_text(encoding="utf-8").splitlines()
        return {key: value for key, _, value in (line.partition(" ") for line in lines)}

    return read("token"), read("text"), {key: float(value) for key, value in read("score").items()}


def decode_in_jobs(model, data_dir, output_dir, *options):
    """What the first stage of infer.sh does, its worker in this process."""
    place = [f"--model={model}", f"--data_dir={data_dir}", f"--output_dir={output_dir}", "--gpu_inference=false"]
    assert main(["plan", *place, "--batch_size=8", *options]) == 0
    plan = read_plan(output_dir)
    assert run_jobs(plan, plan.jobs, load_planned, None) == 0
    assert main(["merge", f"--plan={output_dir}"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("model", [*RECOGNIZERS, PARITY / "transformer", PARITY / "paraformer_ctc"], ids=str)
def test_batches_and_jobs_change_nothing(model, tiny_model, data_dir, tmp_path):
    model = tiny_model(model) if isinstance(model, str) else model
    for batch_size in (1, 8):
        recognize = pipeline(task=Tasks.auto_speech_recognition, model=model, ngpu=0, batch_size=batch_size)
        recognize(audio_in=data_dir / "wav.scp", output_dir=tmp_path / f"batch{batch_size}")
    decode_in_jobs(model, data_dir, tmp_path / "jobs", "--njob=3")
    tokens, texts, scores = written(tmp_path / "batch1")
    assert tokens["u1"] == "" and any(tokens.values())
    for name in ("batch8", "jobs"):
        assert written(tmp_path / name)[:2] == (tokens, texts)
        assert written(tmp_path / name)[2] == pytest.approx(scores, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(RECOGNIZERS) & set(names_with("export"))))
def test_what_is_exported_decodes_in_a_job(family, tiny_model, data_dir, tmp_path):
    """The report on equality is that of the command; a job gives what the pipeline gives, in batches too."""
    pytest.importorskip("onnxruntime")
    folder = open_model_folder(tiny_model(family))
    samples = {f"u{i}": soundfile.read(data_dir / f"u{i}.wav", dtype="float32")[0] for i in (0, 1, 5)}
    assert export_folder(folder, tmp_path / "onnx", samples, quantized=False)["fp32"].holds
    recognize = pipeline(task=Tasks.auto_speech_recognition, model=tmp_path / "onnx", ngpu=0, batch_size=1)
    recognize(audio_in=data_dir / "wav.scp", output_dir=tmp_path / "alone")
    decode_in_jobs(tmp_path / "onnx", data_dir, tmp_path / "job", "--engine=onnx", "--njob=1")
    assert written(tmp_path / "job")[:2] == written(tmp_path / "alone")[:2]


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(RECOGNIZERS) & set(names_with("objective"))))
def test_what_can_be_trained_is_trained(family, tiny_model, data_dir, tmp_path):
    """One epoch over six utterances; the folder that comes out decodes."""
    tokens = [t for t in open_model_folder(tiny_model(family)).tokens[3:] if not t.isascii() and "▁" not in t][:4]
    for name in ("train", "validation"):
        (tmp_path / "data" / name).mkdir(parents=True)
        keys = ["u0", "u2", "u3", "u4", "u5"]
        (tmp_path / "data" / name / "wav.scp").write_text("".join(f"{k} {data_dir}/{k}.wav\n" for k in keys))
        (tmp_path / "data" / name / "text").write_text("".join(f"{k} {' '.join(tokens)}\n" for k in keys), "utf-8")
    place = {"model": tiny_model(family), "data_dir": tmp_path / "data", "output_dir": tmp_path / "out"}
    train({name: str(path) for name, path in place.items()} | {"max_epoch": 1, "max_bad_share": 1.0})
    recognize = pipeline(task=Tasks.auto_speech_recognition, model=tmp_path / "out", ngpu=0)
    assert len(recognize(audio_in=data_dir / "wav.scp", output_dir=tmp_path / "results")) == 6


def test_every_row_is_a_recognizer_or_says_what_else_it_is():
    for name, family in FAMILIES.items():
        assert name in RECOGNIZERS or family.instead or family.unsupported, name
