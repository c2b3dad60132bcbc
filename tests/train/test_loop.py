"""The loop: it learns, repeats itself exactly, survives a kill, skips bad gradients."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_corpus import scratch

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import DataError, Interrupted, WorkerError
from funrecipe.model_folder import open_model_folder
from funrecipe.train.data.dataset import BatchLoader
from funrecipe.train.distributed import Ranks
from funrecipe.train.loop import Trainer
from funrecipe.train.options import build_options
from funrecipe.train.progress_log import DeviceClock, read_json_lines
from funrecipe.train.run import train
from funrecipe.train.session import build_session

EXPECTED = Path(__file__).parent / "expected_losses.json"


def losses(output_dir: Path) -> list[float]:
    return [record["loss"] for record in read_json_lines(output_dir / "steps.jsonl")]


def trainer_of(flags: dict[str, Any]) -> Trainer:
    Path(flags["output_dir"]).mkdir(parents=True, exist_ok=True)
    return build_session(build_options({}, {}, flags), Ranks(), torch.device("cpu")).trainer


@pytest.fixture(scope="module")
def short_run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs with every source of randomness: shuffling, speeds, SpecAugment, dropout, sampler."""
    torch.set_num_threads(1)
    output_dir = tmp_path_factory.mktemp("short_run")
    train(random_flags(corpus, output_dir))
    return output_dir


def random_flags(corpus: Path, output_dir: Path, **more: Any) -> dict[str, Any]:
    return scratch(corpus, output_dir, max_epoch=3, batch_bins=100, speed_perturb=[0.9, 1.0, 1.1],
                   specaug="specaug_lfr",
                   specaug_conf={"apply_time_warp": False, "freq_mask_width_range": [0, 5], "num_freq_mask": 1,
                                 "time_mask_width_range": [0, 3], "num_time_mask": 1},
                   save_interval=1, scheduler="warmuplr", scheduler_conf={"warmup_steps": 5}, **more)  # fmt: skip


def test_a_tiny_corpus_is_learnt_to_zero_errors(corpus: Path, tmp_path: Path) -> None:
    for name in ("train", "validation"):
        (tmp_path / name).symlink_to(corpus / "train")
    flags = scratch(corpus, tmp_path / "out", max_epoch=1, passes_per_epoch=80, lr=0.005, scheduler="linear")
    flags |= {"data_dir": str(tmp_path), "scheduler_conf": {"warmup_steps": 20, "total_steps": 240}}
    position = trainer_of(flags).run()
    assert position.history[1]["valid.cer_decode"] == 0.0
    assert position.history[1]["valid.acc"] == 1.0


def test_the_loss_sequence_is_the_stored_one(short_run: Path) -> None:
    assert losses(short_run) == pytest.approx(json.loads(EXPECTED.read_text()), rel=2e-3)


def test_the_order_of_work_does_not_depend_on_workers(corpus: Path, tmp_path: Path, short_run: Path) -> None:
    train(random_flags(corpus, tmp_path, num_workers=3))
    assert losses(tmp_path) == losses(short_run)


def test_another_seed_gives_other_losses(corpus: Path, tmp_path: Path, short_run: Path) -> None:
    train(random_flags(corpus, tmp_path, seed=1, max_steps=2))
    assert losses(tmp_path) != losses(short_run)[:2]


def test_killed_and_resumed_equals_undisturbed(corpus: Path, tmp_path: Path, short_run: Path) -> None:
    flags = random_flags(corpus, tmp_path)
    command = [sys.executable, "-m", "funrecipe", "train"]
    for name, value in flags.items():
        command += [f"--{name}", json.dumps(value) if not isinstance(value, str) else value]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while len(read_json_lines(tmp_path / "steps.jsonl")) < 5 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(losses(tmp_path)) < len(losses(short_run)), "the run ended before it could be killed"
    train(flags)
    assert losses(tmp_path) == losses(short_run)
    final, undisturbed = (torch.load(d / "3epoch.pb", weights_only=True) for d in (tmp_path, short_run))
    assert all(torch.equal(final[name], undisturbed[name]) for name in undisturbed)


def test_batches_made_by_processes_are_those_made_by_threads(corpus: Path, tmp_path: Path) -> None:
    trainer = trainer_of(random_flags(corpus, tmp_path))
    loader = trainer.train_loader
    by_thread = list(loader.epoch(1))
    in_processes = BatchLoader(loader.plan, loader.builder, workers=2, in_processes=True)
    for (index, batch), (other_index, other) in zip(by_thread, in_processes.epoch(1), strict=True):
        assert index == other_index and batch is not None and other is not None
        for name, value in vars(batch).items():
            found = vars(other)[name]
            assert torch.equal(value, found) if isinstance(value, torch.Tensor) else value == found
    assert [index for index, _ in in_processes.epoch(1, start=2)] == [index for index, _ in by_thread[2:]]


def test_a_process_that_is_killed_ends_the_run(corpus: Path, tmp_path: Path) -> None:
    loader = trainer_of(random_flags(corpus, tmp_path)).train_loader
    batches = BatchLoader(loader.plan, loader.builder, workers=1, prefetch_batches=1, in_processes=True)
    running = batches.epoch(1)
    next(running)
    for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
        if b"feature_process" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
    with pytest.raises(WorkerError, match="a process that makes training batches has ended"):
        list(running)


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(corpus: Path, tmp_path: Path) -> None:
    trainer = trainer_of(scratch(corpus, tmp_path, max_epoch=1, batch_bins=100))
    objective, calls = trainer.loss, []

    def sometimes_infinite(*arguments: Any) -> Any:
        output = objective(*arguments)
        calls.append(1)
        if len(calls) == 2:
            output.loss = output.loss * float("inf")
        return output

    trainer.loss = sometimes_infinite
    position = trainer.run()
    assert position.skipped == 1
    assert position.history[1]["train.loss"] < float("inf")
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def in_little_memory(trainer: Any, most: int) -> list[int]:
    """Give the trainer room for ``most`` utterances at once; the sizes that it computes, in order."""
    compute, sizes = trainer.compute, []

    def crowded(index: int, batch: Any) -> Any:
        sizes.append(len(batch.keys))
        output = compute(index, batch)  # what it adds to the gradients is there when the memory is found not to suffice
        if len(batch.keys) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return output

    trainer.compute = crowded
    return sizes


@pytest.mark.parametrize("accum_grad", [1, 2])
def test_a_batch_that_does_not_fit_in_memory_is_computed_in_halves(
    accum_grad: int, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"max_epoch": 1, "batch_bins": 400, "accum_grad": accum_grad, "specaug": None}
    trainers = [trainer_of(scratch(corpus, tmp_path / name, **settings)) for name in ("whole", "halves")]
    for trainer in trainers:
        trainer.model.load_state_dict(trainers[0].model.state_dict())
        trainer.model.model_conf["sampling_ratio"] = 0.0  # the halves draw other random numbers
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "dropout_rate"):
                module.dropout_rate = 0.0
    sizes = in_little_memory(trainers[1], most=2)
    with caplog.at_level("INFO", logger="funrecipe"):
        positions = [trainer.run() for trainer in trainers]
    assert "is computed in halves" in caplog.text
    assert max(sizes) > 2 and sizes.count(2) > 1
    assert positions[1].skipped == 0 and positions[1].update == positions[0].update
    for whole, halves in zip(losses(tmp_path / "whole"), losses(tmp_path / "halves"), strict=True):
        assert halves == pytest.approx(whole, rel=1e-4)


def test_an_utterance_that_does_not_fit_in_memory_costs_an_update_and_is_named(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = trainer_of(scratch(corpus, tmp_path, max_epoch=1, batch_bins=100, accum_grad=2, max_bad_share=0.5))
    compute, keys = trainer.compute, []

    def too_large(index: int, batch: Any) -> Any:
        output = compute(index, batch)
        keys.append(batch.keys[0])
        if batch.keys[0] == keys[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return output

    trainer.compute = too_large
    with caplog.at_level("WARNING", logger="funrecipe"):
        position = trainer.run()
    assert position.skipped == 1
    assert f"out of memory: the update with {keys[0]}" in caplog.text
    assert losses(tmp_path)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_a_run_whose_utterances_do_not_fit_ends_with_the_remedy(corpus: Path, tmp_path: Path) -> None:
    trainer = trainer_of(scratch(corpus, tmp_path, max_epoch=1))

    def no_memory(*arguments: Any) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 9 GB")

    trainer.check_criteria = lambda: None  # type: ignore[method-assign]
    trainer.loss = no_memory
    with pytest.raises(WorkerError, match=r"(?s)16 of 16 utterances .*do not fit in memory.*--max_ms"):
        trainer.run()


def test_other_errors_of_a_batch_end_the_run(corpus: Path, tmp_path: Path) -> None:
    trainer = trainer_of(scratch(corpus, tmp_path, max_epoch=1))

    def broken(*arguments: Any) -> Any:
        raise RuntimeError("shapes do not match")

    trainer.check_criteria = lambda: None  # type: ignore[method-assign]
    trainer.loss = broken
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trainer.run()


def test_output_files(short_run: Path) -> None:
    names = {path.name for path in short_run.iterdir()}
    assert {"config.yaml", "checkpoint.pb", "latest.pb", "metrics.csv", "metrics.jsonl", "training.svg", "train.log.0",
            "valid.acc.best.pb", "valid.acc.ave.pb", "valid.acc.ave_2best.pb",
            "valid.acc.ave_2best.json"} <= names  # fmt: skip
    assert (short_run / "latest.pb").readlink() == Path("3epoch.pb")
    log = (short_run / "train.log.0").read_text()
    assert "epoch:train:1-1batch:1num_updates: iter_time=" in log
    assert "1epoch results: [train] " in log
    ranked = sorted(read_json_lines(short_run / "metrics.jsonl"), key=lambda r: -r["valid.acc"])
    kept = {f"{record['epoch']}epoch.pb" for record in ranked[:2]} | {"3epoch.pb"}
    assert {name for name in names if name.endswith("epoch.pb")} == kept


def test_the_output_folder_decodes_by_itself(short_run: Path) -> None:
    recognizer = load_recognizer(open_model_folder(short_run), device="cpu")
    assert recognizer.sample_rate_hz == 16000


def test_the_output_folder_has_the_ngrams_that_its_search_needs(corpus: Path, short_run: Path, tmp_path: Path) -> None:
    """Fine-tuning a model as the quick start ships it; with a character more, too."""
    base, data, out = tmp_path / "base", tmp_path / "data", tmp_path / "out"
    shutil.copytree(short_run, base)
    (base / "decoding.yaml").write_text("beam_size: 2\nngram_weight: 0.5\n")
    unigrams = "".join(f"-1 {c}\n" for c in ("<unk>", "</s>", "一", "二"))
    (base / "ngram.arpa").write_text(f"\\data\\\nngram 1=4\n\n\\1-grams:\n{unigrams}\n\\end\\\n", "utf-8")
    shutil.copytree(corpus, data)
    (data / "train" / "text").write_text((data / "train" / "text").read_text("utf-8").replace("六", "七"), "utf-8")
    flags = scratch(data, out, max_epoch=1, max_steps=1, valid_decode=False, extend_vocab=True)
    del flags["config"], flags["cmvn_file"]
    train(flags | {"model": str(base)})
    folder = open_model_folder(out)
    options = DecodeOptions.from_mapping(folder.decoding, where="decoding.yaml")
    recognizer = load_recognizer(folder, device="cpu", options=options)
    assert "七" in folder.tokens
    assert recognizer.transcribe([np.zeros(16000, np.float32)])


def test_early_stopping_waits_for_patience(corpus: Path, tmp_path: Path) -> None:
    flags = scratch(corpus, tmp_path, max_epoch=9, patience=1, lr=1e-12, valid_decode=False,
                    early_stopping_criterion=["valid", "acc", "max"])  # fmt: skip
    assert max(trainer_of(flags).run().history) == 3  # the first sets the mark; two without gain exceed a patience of 1


def test_large_data_is_streamed_and_resumed_in_the_same_order(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    (data / "validation").symlink_to(corpus / "validation")
    (data / "train" / "data.list").write_text(f"{corpus}/train/wav.scp {corpus}/train/text\n")

    def flags(name: str, **more: Any) -> dict[str, Any]:
        conf = {"shuffle_conf": {"shuffle_size": 8, "sort_size": 8}}
        settings = {
            "dataset_type": "large",
            "batch_bins": 3000,
            "dataset_conf": conf,
            "max_epoch": 2,
            "save_interval": 1,
        }
        return scratch(corpus, tmp_path / name, **settings, **more) | {"data_dir": str(data)}

    train(flags("whole"))
    whole = losses(tmp_path / "whole")
    assert len(whole) > 4
    trainer = trainer_of(flags("parts"))
    take = trainer.update

    def stop_in_the_second_epoch(*arguments: Any) -> Any:
        if trainer.position.update == len(whole) - 2:
            raise KeyboardInterrupt
        return take(*arguments)

    trainer.update = stop_in_the_second_epoch  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    train(flags("parts"))
    assert losses(tmp_path / "parts") == whole


def test_a_plain_data_directory_is_one_shard(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    for name, target in (("validation", "validation"), ("train/wav", "train/wav"), ("train/text", "train/text")):
        (data / name).symlink_to(corpus / target)
    (data / "train" / "wav.scp").write_text((corpus / "train" / "wav.scp").read_text())
    flags = {**scratch(corpus, tmp_path / "plain", dataset_type="large", batch_bins=3000, max_epoch=1)}
    flags["data_dir"] = str(data)
    train(flags)
    (data / "train" / "data.list").write_text("wav.scp text\n")
    train(flags | {"output_dir": str(tmp_path / "listed")})
    assert losses(tmp_path / "plain") == losses(tmp_path / "listed") != []
    (data / "train" / "data.list").unlink()
    (data / "train" / "segments").write_text("utt000 utt000 0 0.5\n")
    with pytest.raises(DataError, match="segments cannot be streamed"):
        train(flags | {"output_dir": str(tmp_path / "cut")})


def test_a_file_that_breaks_during_training_is_left_out_and_named(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = trainer_of(scratch(corpus, tmp_path, max_epoch=1, cache_mb=0))
    featurize = trainer.train_loader.builder.featurize

    def broken(item: Any, chooser: Any) -> Any:
        if item.key == "utt003":
            raise DataError("the disk is gone", where=item.audio)
        return featurize(item, chooser)

    trainer.train_loader.builder.featurize = broken
    with caplog.at_level("WARNING", logger="funrecipe"):
        trainer.run()
    assert "1 utterances could not be read" in caplog.text
    assert "the disk is gone" in caplog.text


def test_a_closed_terminal_finishes_the_update_and_leaves_a_checkpoint(
    corpus: Path, tmp_path: Path, short_run: Path
) -> None:
    trainer = trainer_of(random_flags(corpus, tmp_path) | {"save_interval": 0})
    take = trainer.update

    def signalled(*arguments: Any) -> Any:
        if trainer.position.update == 3:
            os.kill(os.getpid(), signal.SIGHUP)
        return take(*arguments)

    trainer.update = signalled  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="after update 4"):
        trainer.run()
    train(random_flags(corpus, tmp_path) | {"save_interval": 0})
    assert losses(tmp_path) == losses(short_run)


def test_the_clock_of_a_device_counts_from_mark_to_mark() -> None:
    now = [0.0]

    class Event:
        def record(self) -> None:
            now[0] += 250.0
            self.at_ms = now[0]

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, later: Event) -> float:
            return later.at_ms - self.at_ms

    clock = DeviceClock(Event)
    for name in ("iter_time", "forward_time", "iter_time", "forward_time", "optim_step_time"):
        clock.lap(name)
    assert clock.laps == {"iter_time": 0.5, "forward_time": 0.5, "optim_step_time": 0.25}


def test_an_epoch_is_not_judged_by_a_part_of_the_validation_set(corpus: Path, tmp_path: Path) -> None:
    """A recording that has gone since the pre-flight stops the run, which resumes as if nothing had been."""
    data, out = Path(shutil.copytree(corpus, tmp_path / "data")), tmp_path / "out"
    flags = scratch(data, out, valid_decode=False, max_epoch=2, max_steps=3)
    trainer = trainer_of(flags)
    recording = data / "validation" / "wav" / "utt001.wav"
    kept = recording.read_bytes()
    recording.unlink()
    with pytest.raises(DataError, match=r"1 of the validation utterances can no longer be read.*\s+at: utt001"):
        trainer.run()
    assert not read_json_lines(out / "metrics.jsonl") and not (out / "1epoch.pb").exists()
    recording.write_bytes(kept)
    train(flags)
    train(flags | {"output_dir": str(tmp_path / "whole")})
    assert len(losses(out)) == 3 and losses(out) == losses(tmp_path / "whole")
    resumed, whole = (read_json_lines(folder / "metrics.jsonl") for folder in (out, tmp_path / "whole"))
    assert len(resumed) == 1 and [r["valid.loss"] for r in resumed] == [r["valid.loss"] for r in whole]
