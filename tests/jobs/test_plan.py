"""Plans: what their digest covers, what becomes of the shards of another plan, devices and threads."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from funrecipe.commands.shard import record_model
from funrecipe.errors import DataError, UsageError
from funrecipe.jobs import resources
from funrecipe.jobs.plan import Job, ModelRecord, Plan, fingerprint, read_plan, set_stale_aside
from funrecipe.jobs.resources import lay_out
from funrecipe.jobs.shards import ShardEntry


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    entries = [ShardEntry(f"u{n}", f'/a "b" $(c)/{n}.wav', stamp="1-1") for n in range(4)]
    entries[0] = replace(entries[0], id="u0名", start_s=0.5, end_s=1.25)
    model = ModelRecord("/m", "/m/model.pb", {"weights": "abc", "config": "def"}, "1-2")
    return Plan(output_dir=tmp_path, data_dir="d", model=model, options={"beam_size": 5, "hotword": "北京"},
                jobs=(Job(1, tuple(entries[:2])), Job(2, tuple(entries[2:]), gpu="1")), threads=1, max_running=2,
                batch_size=8, code="1", notes=("a note",))  # fmt: skip


def test_a_plan_survives_the_disk(plan: Plan) -> None:
    plan.write()
    assert read_plan(plan.output_dir) == plan
    assert read_plan(plan.path).digest == plan.digest


def test_the_digest_covers_what_results_depend_on_and_no_more(plan: Plan) -> None:
    others = [
        replace(plan, options={"beam_size": 6}),
        replace(plan, code="2"),
        replace(plan, audio_fs=8000),
        replace(plan, model=replace(plan.model, fingerprint={"weights": "abd", "config": "def"})),
        replace(plan, jobs=(Job(1, plan.jobs[0].utterances + plan.jobs[1].utterances),)),
        replace(plan, jobs=(plan.jobs[0], Job(2, plan.jobs[1].utterances[:1]))),
    ]
    assert len({plan.digest, *(other.digest for other in others)}) == 1 + len(others)
    same = replace(plan, threads=9, max_running=1, batch_size=1, notes=(), data_dir="elsewhere", output_dir=Path("/o"))
    assert same.digest == plan.digest


def test_a_plan_that_was_edited_is_refused(plan: Plan) -> None:
    plan.write()
    content = json.loads(plan.path.read_text())
    content["options"]["beam_size"] = 1
    plan.path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="changed after it was made"):
        read_plan(plan.path)
    for damaged in ("{", "", '{"format": 1}', '{"format": 1, "digest": "x", "jobs": [3], "model": {}, "notes": []}'):
        plan.path.write_text(damaged)
        with pytest.raises(DataError, match="not a plan"):
            read_plan(plan.path)
    for other in ("[]", "3", "null", '{"format": 0}'):
        plan.path.write_text(other)
        with pytest.raises(DataError, match="another version"):
            read_plan(plan.path)


def test_a_digest_that_is_none_never_becomes_a_path(plan: Plan, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "output.1").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    (run / "output.stale...").mkdir()
    (run / "plan.json").write_text('{"digest": "../../victim"}')
    assert set_stale_aside(run, plan.digest) == run / "output.stale.unknown"
    assert (tmp_path / "victim").is_dir()


def test_shards_of_another_plan_are_set_aside_and_those_of_the_same_stay(plan: Plan) -> None:
    plan.write()
    for name in ("output.1", "output.7", "1best_recog", "log"):
        (plan.output_dir / name).mkdir()
        (plan.output_dir / name / "file").write_text(name)
    assert set_stale_aside(plan.output_dir, plan.digest) is None
    aside = set_stale_aside(plan.output_dir, "other")
    assert aside == plan.output_dir / f"output.stale.{plan.digest[:12]}"
    assert sorted(p.name for p in aside.iterdir()) == ["1best_recog", "log", "output.1", "output.7"]
    assert not (plan.output_dir / "output.1").exists()
    # A second change does not take the first one's folder for a shard.
    assert set_stale_aside(plan.output_dir, "third") is None


def test_fingerprints_follow_content_not_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    digests = fingerprint({"weights": tmp_path / "a", "cmvn": None}, {"config": {"b": 1, "a": 2}})
    # FIPS 180-2, appendix B.1.
    assert digests["weights"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digests["config"] == fingerprint({}, {"config": {"a": 2, "b": 1}})["config"]
    assert set(digests) == {"weights", "config"}


@pytest.fixture
def machine(monkeypatch):
    def make(cores: int = 8, memory: int | None = 10**12, gpus: int = 0, visible: str | None = None) -> None:
        monkeypatch.setattr(resources, "available_cores", lambda: cores)
        monkeypatch.setattr(resources, "available_memory_bytes", lambda: memory)
        monkeypatch.setattr(resources, "_cuda_device_count", lambda: gpus)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return make


def lay(num_utterances: int = 100, *, gpu: str = "auto", ids: str = "0,1", njob: int = 64, ncpu: int | None = None,
        weights: int = 10**9) -> resources.Layout:  # fmt: skip
    return lay_out(num_utterances, gpu_inference=gpu, gpuid_list=ids, njob=njob, ncpu=ncpu, weights_bytes=weights)


def test_cpu_jobs_share_the_cores(machine) -> None:
    machine(cores=8)
    four = lay(njob=4, gpu="false")
    assert (four.gpus, four.threads, four.max_running, four.notes) == ((None,) * 4, 2, 4, ())
    many = lay(njob=64, gpu="false")
    assert (len(many.gpus), many.threads, many.max_running) == (64, 1, 8)
    assert many.notes == ("8 of 64 jobs run at once (8 cores)",)
    assert len(lay(3, njob=64).gpus) == 3
    assert lay(njob=4, ncpu=4).max_running == 2


def test_memory_limits_jobs(machine) -> None:
    machine(cores=8, memory=9 * 10**9)
    limited = lay(njob=8, gpu="false", weights=10**9)  # 3 GB each
    assert limited.max_running == 3
    assert limited.notes == ("3 of 8 jobs run at once (memory for 3 such jobs)",)
    machine(cores=8, memory=10**6)
    assert lay(njob=8, gpu="false").max_running == 1


def test_gpus(machine) -> None:
    machine(cores=8, gpus=1)
    auto = lay()
    assert (auto.gpus, auto.threads) == (("0",), 8)
    assert auto.notes == ("GPU 1 of --gpuid_list does not exist and is left out",)
    with pytest.raises(UsageError, match="GPU 1 does not exist: this machine has GPUs 0 to 0") as error:
        lay(gpu="true")
    assert "--gpu_inference false" in str(error.value) and "--gpuid_list" in str(error.value)
    with pytest.raises(UsageError, match="none is named"):
        lay(gpu="true", ids="")
    machine(gpus=2)
    assert lay(gpu="true", ids="0,1,1").gpus == ("0", "1", "1")
    assert lay(gpu="true", ids="0,1", num_utterances=1).gpus == ("0",)
    machine(gpus=2, visible="5,GPU-abc")
    assert lay(gpu="true").gpus == ("5", "GPU-abc")


def test_without_a_gpu(machine) -> None:
    machine(cores=2)
    assert lay(njob=2).notes == ("no GPU of --gpuid_list exists: decoding on the CPU",)
    with pytest.raises(UsageError, match="this machine has no GPU"):
        lay(gpu="true")
    assert lay(gpu="true", ids="-1,-1").gpus == (None, None)
    for wrong in ("0,-1", "a"):
        with pytest.raises(UsageError):
            lay(ids=wrong)


def test_the_fingerprint_covers_ngrams_and_hot_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parity = Path(__file__).resolve().parents[1] / "data/parity/contextual_paraformer"
    folder, words = shutil.copytree(parity, tmp_path / "model"), tmp_path / "words"

    def record(hotword: str | None = None) -> dict[str, str]:
        return record_model(str(folder), None, "", {"hotword": hotword}).fingerprint

    prints = [record()]
    (folder / "ngram.arpa").write_text("\\data\\\n")
    prints.append(record())
    words.write_text("爨\n", encoding="utf-8")
    prints.append(record(str(words)))
    assert "hot word '爨' is left out" in caplog.text  # said where the user looks, before any worker runs
    (folder / "decoding.yaml").write_text(f"hotword: {words}\n")
    prints.append(record())
    words.write_text("和\n", encoding="utf-8")
    prints.append(record())
    assert len({tuple(sorted(digests.items())) for digests in prints}) == len(prints)
    (folder / "decoding.yaml").write_text("beam_sise: 3\n")
    with pytest.raises(UsageError, match="beam_sise"):
        record()
