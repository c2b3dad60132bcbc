"""Plans: what their digest covers, what becomes of the results of another plan, devices and threads."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from funrecipe.audio.settings import AudioSettings
from funrecipe.data.lists import UtteranceStream
from funrecipe.errors import DataError, UsageError
from funrecipe.identity import file_stamp, fingerprint, rows_digest, strict_stamp
from funrecipe.jobs import memory, resources
from funrecipe.jobs.earlier_plans import switch_plans
from funrecipe.jobs.local import layout_of
from funrecipe.jobs.make_plan import PlanRequest, contradictions, make_plan
from funrecipe.jobs.model_record import ModelRecord, checked_model, choose_model, record_model
from funrecipe.jobs.plan import Job, Plan, read_plan, write_header
from funrecipe.jobs.resources import lay_out
from funrecipe.jobs.shards import ShardEntry, make_entries
from funrecipe.jobs.split import Draft
from funrecipe.model_folder import open_model_folder

TINY = Path(__file__).resolve().parents[1] / "data/parity/paraformer"


def plan_jobs(shards: list[list[ShardEntry]]) -> tuple[Job, ...]:
    """What a header says of these shards, by the definition of the digests."""
    return tuple(
        Job(
            number,
            len(shard),
            round(sum(entry.cost_s for entry in shard), 3),
            rows_digest(entry[:6] for entry in shard),
            rows_digest(entry[:4] for entry in shard),
        )
        for number, shard in enumerate(shards, start=1)
    )


def write_plan(plan: Plan, shards: list[list[ShardEntry]]) -> None:
    (plan.output_dir / "split").mkdir(exist_ok=True)
    for number, shard in enumerate(shards, start=1):
        lines = "".join(json.dumps(entry[:6], ensure_ascii=False) + "\n" for entry in shard)
        (plan.output_dir / f"split/shard.{number}.jsonl").write_text(lines)
    write_header(plan)


@pytest.fixture
def shards() -> list[list[ShardEntry]]:
    entries = [ShardEntry(f"u{n}", f'/a "b" $(c)/{n}.wav', stamp="1-1") for n in range(4)]
    entries[0] = entries[0]._replace(id="u0名", start_s=0.5, end_s=1.25)
    return [entries[:2], entries[2:]]


@pytest.fixture
def plan(tmp_path: Path, shards: list[list[ShardEntry]]) -> Plan:
    model = ModelRecord("/m", "/m/model.pb", {"weights": "abc", "config": "def"})
    options = {"beam_size": 5, "hotword": "北京"}
    return Plan(tmp_path, "d", model, options, plan_jobs(shards), batch_size=8, device="cuda", gpuid_list="1", code="1")


def test_a_plan_survives_the_disk_and_a_worker_reads_its_own_list(plan: Plan, shards: list[list[ShardEntry]]) -> None:
    write_plan(plan, shards)
    assert read_plan(plan.output_dir) == plan
    assert read_plan(plan.path, plan.digest).digest == plan.digest
    (plan.output_dir / "split/shard.2.jsonl").unlink()
    assert plan.entries(1) == shards[0]
    with pytest.raises(DataError, match="not a list of a plan"):
        plan.entries(2)


def test_the_lists_that_are_written_are_those_that_a_worker_reads(plan: Plan, shards: list[list[ShardEntry]]) -> None:
    entries = [entry for shard in shards for entry in shard]
    with Draft(plan.output_dir) as draft:
        draft.fill(entries)
        jobs = draft.split(2)
        draft.publish(plan.output_dir / "split")
    write_header(replace(plan, jobs=jobs))
    written = read_plan(plan.output_dir)
    found = [written.entries(1), written.entries(2)]
    assert sorted(entry for shard in found for entry in shard) == entries and jobs == plan_jobs(found)
    assert written.stamps(1) == {entry.id: entry.stamp for entry in found[0]}
    assert (plan.output_dir / "split/wav.1.scp").read_text() == "".join(f"{e.id} {e.audio}\n" for e in found[0])


def test_a_list_of_another_plan_is_refused(plan: Plan, shards: list[list[ShardEntry]]) -> None:
    write_plan(plan, shards)
    path = plan.output_dir / "split/shard.1.jsonl"
    for damaged in (path.read_text().replace("1-1", "2-1"), path.read_text().splitlines(keepends=True)[0], "", "{"):
        path.write_text(damaged)
        with pytest.raises(DataError, match="list"):
            plan.entries(1)


def test_another_plan_than_the_one_given_is_refused(plan: Plan, shards: list[list[ShardEntry]]) -> None:
    write_plan(plan, shards)
    with pytest.raises(DataError, match=f"the plan here is {plan.digest[:12]}, not 012345"):
        read_plan(plan.path, "0123456789ab")


def test_the_digest_covers_what_results_depend_on_and_no_more(plan: Plan, shards: list[list[ShardEntry]]) -> None:
    others = [
        replace(plan, options={"beam_size": 6}),
        replace(plan, code="2"),
        replace(plan, audio=AudioSettings(audio_fs=8000)),
        replace(plan, model=replace(plan.model, fingerprint={"weights": "abd", "config": "def"})),
        replace(plan, jobs=plan_jobs([shards[0] + shards[1]])),
        replace(plan, jobs=plan_jobs([shards[0], shards[1][:1]])),
    ]
    assert len({plan.digest, *(other.digest for other in others)}) == 1 + len(others)
    assert len({plan.work_digest, *(other.work_digest for other in others)}) == 1 + len(others)
    same = replace(plan, device="cpu", gpuid_list="", ncpu=9, batch_size=1, data_dir="elsewhere", output_dir=Path("/o"))
    assert (same.digest, same.work_digest) == (plan.digest, plan.work_digest)
    # A repaired file is another identity, and the same work: what is decoded of the rest stays.
    repaired = [[shards[0][0]._replace(stamp="2-2"), shards[0][1]], shards[1]]
    other = replace(plan, jobs=plan_jobs(repaired))
    assert other.digest != plan.digest and other.work_digest == plan.work_digest


def test_a_plan_that_was_edited_is_refused(plan: Plan, shards: list[list[ShardEntry]]) -> None:
    write_plan(plan, shards)
    content = json.loads(plan.path.read_text())
    content["options"]["beam_size"] = 1
    plan.path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="changed after it was made"):
        read_plan(plan.path)
    for damaged in ("{", "", "[" * 100_000, '{"format": 2}', '{"format": 2, "digest": "x", "jobs": [3], "model": {}}'):
        plan.path.write_text(damaged)
        with pytest.raises(DataError, match="not a plan"):
            read_plan(plan.path)
    for other in ("[]", "3", "null", '{"format": 0}'):
        plan.path.write_text(other)
        with pytest.raises(DataError, match="another version"):
            read_plan(plan.path)


def test_a_digest_that_is_none_never_becomes_a_path(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "output.1").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    (run / "output.stale...").mkdir()
    (run / "plan.json").write_text('{"work_digest": "../../victim"}')
    assert switch_plans(run, "a" * 64) == (run / "output.stale.unknown", None)
    assert (tmp_path / "victim").is_dir()


def test_results_of_another_plan_wait_and_come_back_with_it(plan: Plan, shards: list[list[ShardEntry]]) -> None:
    """A, B, A, B, as when two models are compared by turns in one folder."""
    folder, other = plan.output_dir, replace(plan, code="2")
    write_plan(plan, shards)
    for name in ("output.1", "output.7", "1best_recog", "log"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(name)
    (folder / "report.html").write_text("A")
    assert switch_plans(folder, plan.work_digest) == (None, None)
    aside = folder / f"output.stale.{plan.work_digest[:12]}"
    assert switch_plans(folder, other.work_digest) == (aside, None)
    assert sorted(p.name for p in aside.iterdir()) == [
        *("1best_recog", "log", "output.1", "output.7", "plan.json", "report.html", "split")
    ]
    assert not [p.name for p in folder.iterdir() if p != aside]
    write_plan(other, shards)
    (folder / "output.1").mkdir()
    assert switch_plans(folder, plan.work_digest) == (folder / f"output.stale.{other.work_digest[:12]}", aside)
    assert read_plan(folder) == plan and (folder / "output.7/file").read_text() == "output.7"
    assert not aside.exists()
    assert switch_plans(folder, other.work_digest)[0] == aside  # and A's are kept again
    assert (aside / "output.7/file").read_text() == "output.7"


@pytest.mark.parametrize("moved", range(8))
def test_a_switch_that_was_killed_is_completed(moved: int, plan: Plan, shards: list[list[ShardEntry]]) -> None:
    """After any number of moves, going to B or back to A finds everything of A."""
    folder, other = plan.output_dir, replace(plan, code="2")
    write_plan(plan, shards)
    for name in ("output.1", "output.2", "1best_recog", "log"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(name)
    aside = folder / f"output.stale.{plan.work_digest[:12]}"
    aside.mkdir()
    for name in ["output.1", "output.2", "1best_recog", "log", "split", "plan.json"][:moved]:
        (folder / name).rename(aside / name)
    switch_plans(folder, other.work_digest)
    write_plan(other, shards)
    switch_plans(folder, plan.work_digest)
    assert read_plan(folder) == plan
    assert {(folder / n / "file").read_text() for n in ("output.1", "output.2", "1best_recog", "log")} == {
        *("output.1", "output.2", "1best_recog", "log")
    }


@pytest.mark.parametrize("resume", [True, False])
def test_a_plan_that_comes_back_is_resumed_or_starts_over_and_says_which(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x" * 100)
    data, run = _data_dir(tmp_path / "data", str(tmp_path / "a.wav")), tmp_path / "run"
    record = ModelRecord("/nowhere", str(tmp_path / "a.wav"), {"weights": "abc"})
    request = PlanRequest(backend="elsewhere")
    make_plan(data, record, {}, request, run)
    (run / "output.1").mkdir()
    aside = run / f"output.stale.{read_plan(run).work_digest[:12]}"
    assert make_plan(data, record, {"beam_size": 3}, request, run)[0].endswith(f"earlier results are in {aside}")
    lines = make_plan(data, record, {}, replace(request, resume=resume), run)
    assert (run / "output.1").exists() == ("reusing what an earlier run of this plan decoded" in lines) == resume
    assert not aside.exists()


def test_fingerprints_follow_content_not_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    digests = fingerprint({"weights": tmp_path / "a", "cmvn": None}, {"config": {"b": 1, "a": 2}})
    # FIPS 180-2, appendix B.1.
    assert digests["weights"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digests["config"] == fingerprint({}, {"config": {"a": 2, "b": 1}})["config"]
    assert set(digests) == {"weights", "config"}
    assert rows_digest([("a", 1)]) != rows_digest([("a", 2)]) != rows_digest([("a", 1), ("a", 2)])


def test_a_file_that_was_exchanged_and_put_back_has_another_strict_stamp(tmp_path: Path) -> None:
    file, kept = tmp_path / "a.wav", tmp_path / "kept.wav"
    file.write_bytes(b"x")
    before = file_stamp(file), strict_stamp(file)
    file.rename(kept)
    file.write_bytes(b"y")
    os.utime(file, ns=(kept.stat().st_atime_ns, kept.stat().st_mtime_ns))
    assert file_stamp(file) == before[0] and strict_stamp(file) != before[1]
    kept.replace(file)
    assert file_stamp(file) == before[0] and strict_stamp(file) != before[1]


@pytest.mark.parametrize("name", ["am.mvn", "config.yaml", "model.pb", "seg_dict"])
def test_a_model_that_changed_after_planning_is_refused(name: str, tmp_path: Path) -> None:
    """Whatever its times say, and also if it changes while it is loaded."""
    folder = shutil.copytree(TINY, tmp_path / "model")
    record = record_model(open_model_folder(folder), folder / "model.pb", None)
    with checked_model(record) as opened:
        assert opened.path == folder
    path = folder / name
    if path.exists():
        original, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        changed = original.replace(b"0.1", b"0.2").replace(b"dropout_rate", b"dropout_rate ") + b"\n"
        path.write_bytes(changed)
        os.utime(path, ns=times)
    else:
        path.write_text("的 的\n")
    with pytest.raises(DataError, match="the model has changed since the plan was made"), checked_model(record):
        pass


def test_an_option_without_effect_in_a_greedy_search_is_refused_when_planning(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "model")
    (folder / "decoding.yaml").write_text("penalty: 0.5\n")
    with pytest.raises(UsageError, match="penalty has no effect without a beam search"):
        choose_model(str(folder), None, "", {"beam_size": 1, "ctc_weight": 0.0, "ngram_weight": 0.0})
    assert choose_model(str(folder), None, "", {"nbest": 2}).path == str(folder)


def test_options_of_a_search_do_not_matter_to_an_alignment(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "model")
    (folder / "decoding.yaml").write_text("beam_size: 1\nctc_weight: 0.0\nngram_weight: 0.0\npenalty: 0.5\n")
    assert choose_model(str(folder), None, "", {}, task="timestamp").path == str(folder)


def test_what_an_exported_model_cannot_do_is_refused_when_planning(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "model")
    (folder / "model.pb").rename(folder / "model.onnx")
    names = {"init_param": "model.onnx", "config": "config.yaml"}
    (folder / "configuration.json").write_text(json.dumps({"file_path_metas": names}))
    with pytest.raises(UsageError, match="model.onnx is not a model for engine torch"):
        choose_model(str(folder), None, "", {"engine": "torch"})
    with pytest.raises(UsageError, match="beam_size=5 has no effect on an exported model"):
        choose_model(str(folder), None, "", {"beam_size": 5})
    with pytest.raises(UsageError, match="model.pb is not a model for engine onnx"):
        choose_model(str(TINY), None, "", {"engine": "onnx"})
    assert choose_model(str(folder), None, "", {"engine": "onnx"}).weights == str(folder / "model.onnx")


@pytest.mark.parametrize("name", ["am.mvn", "model.pb"])
def test_an_empty_file_of_the_model_is_refused_when_planning(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "model")
    (folder / name).write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty") as caught:
        record_model(open_model_folder(folder), folder / "model.pb", None)
    assert caught.value.where == str(folder / name)


def test_a_model_that_changes_while_it_is_loaded_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "model")
    record = record_model(open_model_folder(folder), folder / "model.pb", None)
    kept = (folder / "am.mvn").read_bytes()
    with pytest.raises(DataError, match="cmvn"), checked_model(record):
        (folder / "am.mvn").write_bytes(b"other")
        (folder / "am.mvn").write_bytes(kept)


def _data_dir(folder: Path, audio: str) -> Path:
    folder.mkdir()
    (folder / "wav.scp").write_text(f"a {audio}\n")
    return folder


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_audio_that_may_never_end_is_refused_when_planning(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "fifo.wav" if kind == "fifo" else Path("/dev/zero")
    if kind == "fifo":
        os.mkfifo(path)
    data = UtteranceStream(_data_dir(tmp_path / "data", str(path)))
    with pytest.raises(DataError, match=f"wav.scp:1: 'a' is a [a-z ]+, not a file: {path}"):
        list(make_entries(data.with_durations(), num_lines=1))


def test_planning_for_another_machine_asks_nothing_of_this_one(tmp_path: Path, machine) -> None:
    machine(cores=1, gpus=0)
    (tmp_path / "a.wav").write_bytes(b"x" * 100)
    data = _data_dir(tmp_path / "data", str(tmp_path / "a.wav"))
    record = ModelRecord("/nowhere", str(tmp_path / "a.wav"), {"weights": "abc"})
    for asked, device in (("true", "cuda"), ("false", "cpu"), ("auto", "auto")):
        request = PlanRequest(gpu_inference=asked, gpuid_list="0,1", backend="elsewhere")
        lines = make_plan(data, record, {}, request, tmp_path / asked)
        plan = read_plan(tmp_path / asked)
        assert (plan.device, plan.gpuid_list, len(plan.jobs)) == (device, "", 1)
        assert "1 job for elsewhere" in lines[0]
        assert (tmp_path / asked / "log").is_dir()  # an engine does not make it, and then writes no log at all


def test_threads_and_devices_are_those_of_where_the_jobs_run(plan: Plan, tmp_path: Path, machine) -> None:
    (tmp_path / "model.pb").write_bytes(b"x")
    plan = replace(plan, device="cpu", model=replace(plan.model, weights=str(tmp_path / "model.pb")))
    machine(cores=8)
    assert (layout_of(plan).threads, layout_of(plan).max_running) == (4, 2)
    machine(cores=1)
    assert (layout_of(plan).threads, layout_of(plan).max_running) == (1, 1)
    machine(gpus=2, visible="5,6")
    assert layout_of(replace(plan, device="cuda", gpuid_list="1,0")).gpus == ("6", "5")


def test_what_slurm_gave_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    assert resources.available_cores() == 1
    assert resources.available_memory_bytes() == 100 << 20


def test_options_that_contradict_a_plan_are_named(plan: Plan) -> None:
    assert contradictions(plan, None, {}, None) == []
    assert contradictions(plan, plan.model, {"beam_size": 5}, None) == []
    other = replace(plan.model, weights="/n/model.pb", fingerprint={"weights": "x", "config": "def"})
    assert contradictions(plan, other, {"beam_size": 9, "nbest": 2}, 8000) == [
        "the model: /m/model.pb was used, /n/model.pb is asked for",
        "beam_size: 5 was used, 9 is asked for",
        "nbest: the default of the model was used, 2 is asked for",
        "audio_fs: None was used, 8000 is asked for",
    ]


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
    limited = lay(njob=8, gpu="false", weights=10**9)  # 1 GB each, and 2 GB that they share
    assert limited.max_running == 7 and limited.can_share
    assert limited.notes == ("7 of 8 jobs run at once (memory for 7 such jobs)",)
    machine(cores=16, memory=9 * 10**9)
    apart = lay(njob=8, gpu="false", weights=10**9)  # 3 GB each: processes of two threads do not share
    assert (apart.max_running, apart.threads, apart.can_share) == (3, 2, False)
    machine(cores=8, memory=10**6)
    assert lay(njob=8, gpu="false").max_running == 1


def test_jobs_that_may_not_have_room_are_told_so_before_they_start(machine, monkeypatch) -> None:
    machine(cores=8, memory=2 * 10**9)
    monkeypatch.setattr(resources, "total_memory_bytes", lambda: 4 * 10**9)
    assert lay(njob=1, gpu="false").notes == (
        "a job needs about 3.0 GB of memory, but 2.0 GB are free: free some, or use fewer jobs",
    )
    assert not lay(njob=1, gpu="false", weights=10**8).notes
    with pytest.raises(UsageError, match=r"weights take at least 5.0 GB, but this machine has 4.0 GB"):
        lay(njob=1, gpu="false", weights=20 * 10**9)


def test_jobs_that_share_a_gpu_are_counted_together(machine, monkeypatch) -> None:
    machine(gpus=2)
    rooms = {"0": (9 * 10**9, 16 * 10**9), "1": (15 * 10**9, 24 * 10**9)}  # free, total
    monkeypatch.setattr(memory, "gpu_memory", lambda gpus: {gpu: rooms[gpu] for gpu in gpus})
    assert lay(gpu="true", ids="0,0,1").notes == ()  # 4 GB each
    (note,) = lay(gpu="true", ids="0,0,0,1").notes
    assert note.startswith(
        "GPU 0: 3 jobs need up to 12.0 GB, but 9.0 GB are free: lower --batch_size, or list it fewer"
    )
    with pytest.raises(UsageError, match=r"3 jobs need 30.0 GB for the weights alone, but GPU 0 has 16.0 GB"):
        lay(gpu="true", ids="0,0,0,1", weights=20 * 10**9)
    monkeypatch.setattr(memory, "gpu_memory", lambda gpus: {})  # nothing says how much there is
    assert lay(gpu="true", ids="0,0,0").notes == ()


def test_gpus(machine) -> None:
    machine(cores=8, gpus=1)
    auto = lay()
    assert (auto.gpus, auto.threads, auto.gpuid_list) == (("0",), 8, "0")
    assert auto.notes == ("GPU 1 of --gpuid_list does not exist and is left out",)
    with pytest.raises(UsageError, match="GPU 1 does not exist: this machine has GPUs 0 to 0") as error:
        lay(gpu="true")
    assert "--gpu_inference false" in str(error.value) and "--gpuid_list" in str(error.value)
    with pytest.raises(UsageError, match="requires --gpuid_list"):
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
        return choose_model(str(folder), None, "", {"hotword": hotword}).fingerprint

    prints = [record()]
    (folder / "ngram.arpa").write_text("\\data\\\n")
    prints.append(record())
    words.write_text("爨\n", encoding="utf-8")
    prints.append(record(str(words)))
    assert "hotword '爨' is left out" in caplog.text  # said where the user looks, before any worker runs
    (folder / "decoding.yaml").write_text(f"hotword: {words}\n")
    prints.append(record())
    words.write_text("和\n", encoding="utf-8")
    prints.append(record())
    assert len({tuple(sorted(digests.items())) for digests in prints}) == len(prints)
    (folder / "decoding.yaml").write_text("beam_sise: 3\n")
    with pytest.raises(UsageError, match="beam_sise"):
        record()


def test_a_folder_of_another_task_is_named_when_a_run_is_planned() -> None:
    vad = Path(__file__).resolve().parents[2] / "egs/quickstart/vad"
    with pytest.raises(UsageError, match="does not recognize speech: voice activity(.|\n)*egs/vad/infer.sh"):
        choose_model(str(vad), None, "", {})
    recognizer = vad.parent / "model"
    with pytest.raises(UsageError, match="family 'paraformer' is for recognition, not for speaker"):
        choose_model(str(recognizer), None, "", {"windows": False}, "speaker")
