"""Fine-tuning on two nodes of a real Slurm, where it can be started."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest
import torch
import yaml
from slurm_site import SECONDS, Cluster, reason_to_skip
from tiny_corpus import CONFIG, scratch, some_sentences, write_set

pytestmark = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())


class Site(Cluster):
    """A cluster with a model and data; short trainings on two nodes."""

    def options(self, output: str, *arguments: str) -> list[str]:
        return ["egs/asr/finetune.sh", "--model", str(self.folder / "model"), "--data_dir", str(self.folder / "data"),
                "--output_dir", str(self.folder / output), "--num_nodes", "2", "--batch_bins", "60", "--max_epoch", "3",
                "--passes_per_epoch", "2",
                "--scheduler", "none", "--valid_decode", "false", "--save_interval", "5", "--njob", "1",
                "--gpu_inference", "false", *arguments]  # fmt: skip

    def start(self, output: str, *arguments: str) -> subprocess.Popen[str]:
        return self.recipe(*self.options(output, "--backend", "slurm", *arguments))

    def updates(self, output: str) -> int:
        steps = self.folder / output / "steps.jsonl"
        return len(steps.read_text().splitlines()) if steps.exists() else 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from funrecipe.train.run import train

    site = Site(tmp_path_factory.mktemp("slurm_training"))
    root = site.folder
    write_set(root / "data/train", some_sentences(16, 1))
    write_set(root / "data/dev", some_sentences(6, 2), seed=100)
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG, allow_unicode=True), "utf-8")
    shift, scale = "-12.0 " * 160, "0.25 " * 160
    (root / "am.mvn").write_text(
        f"<Nnet>\n<AddShift> 160 160\n<LearnRateCoef> 0 [ {shift}]\n"
        f"<Rescale> 160 160\n<LearnRateCoef> 0 [ {scale}]\n</Nnet>\n"
    )
    train(scratch(root, root / "model", max_epoch=1, valid_decode=False) | {"data_dir": str(root / "data")})
    settings = root / "config/funrecipe/slurm.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("mem: 600M\ntrain:\n  mem: 900M\n")
    with site.running():
        yield site


def test_a_training_that_fails_for_good_ends_with_its_error(site: Site) -> None:
    """Fewer validation utterances than processes, which one rank finds, and the other loses it."""
    shutil.copytree(site.folder / "data", site.folder / "few")
    for name in ("text", "wav.scp"):
        lines = (site.folder / "data/dev" / name).read_text("utf-8").splitlines(keepends=True)
        (site.folder / "few/dev" / name).write_text(lines[0], "utf-8")
    process = site.start("failed", "--stage", "2", "--data_dir", str(site.folder / "few"))
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 3, said
    assert (
        "the validation set has fewer utterances (1) than there are processes (2)"
        in said.split("the training failed")[1]
    )
    assert str(site.folder / "failed/log/slurm.log") in said
    assert not site.states() and not (site.folder / "failed/slurm.json").exists()


@pytest.mark.slow
def test_a_training_that_is_requeued_and_loses_a_node_ends_as_an_undisturbed_one(site: Site) -> None:
    """The undisturbed one is a job that was submitted by hand. The last test: the node does not come back."""
    options = site.options("by_hand", "--stage", "2", "--stop_stage", "2")
    log = site.folder / "by_hand.log"
    site.slurm("sbatch", "--nodes=2", "--mem=900M", f"--output={log}", *options)
    site.wait_for(lambda: not site.states())
    assert (site.folder / "by_hand/valid.acc.ave.pb").exists(), log.read_text()

    process = site.start("disturbed", "--stage", "2", "--stop_stage", "2")
    site.wait_for(lambda: site.updates("disturbed") >= 4, process)
    job = site.slurm("squeue", "-h", "-r", "-o", "%i").strip()
    site.slurm("scontrol", "requeue", job)

    def is_resumed() -> bool:
        site.release()
        return "resumed from" in (site.folder / "disturbed/log/slurm.log").read_text()

    site.wait_for(is_resumed, process)
    before = site.updates("disturbed")
    site.wait_for(lambda: site.updates("disturbed") >= before + 7, process)
    site.cut(site.slurm("squeue", "-h", "-o", "%N").strip().replace("[1-2]", "2").replace("[2-3]", "3"))

    site.assert_succeeds(process)
    runs = [site.folder / "by_hand", site.folder / "disturbed"]
    steps, others = [(run / "steps.jsonl").read_text() for run in runs]
    assert steps == others and len(steps.splitlines()) > 30
    weights, other = [torch.load(run / "valid.acc.ave.pb", weights_only=True) for run in runs]
    assert weights.keys() == other.keys() and all(torch.equal(weights[name], other[name]) for name in weights)
