"""The fastest way is timed once, written down, and kept to by all who come later."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from funrecipe.models import kernels, packed
from funrecipe.train import cpu_layers

SHAPE = (512, 512)


class Clock:
    """Time that passes only where a layer says so."""

    def __init__(self):
        self.now = 0.0

    def thread_time(self):
        return self.now

    perf_counter = monotonic = thread_time


clock = Clock()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNRECIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernels, "time", clock)
    return tmp_path / "cache"


def wait(cost_s):
    """A layer that takes so long."""

    def layer(x):
        clock.now += cost_s
        return 2 * x

    return lambda: layer


def written(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_faster_way_is_found_and_kept(cache):
    assert kernels.fastest("test", *SHAPE, {"slow": wait(6), "fast": wait(1)}) == "fast"
    (path,) = written(cache)
    assert path.read_text() == "fast"
    assert kernels.fastest("test", *SHAPE, {"slow": wait(1), "fast": wait(6)}) == "fast", "timed again"


def test_the_first_way_wins_unless_another_is_clearly_faster(cache):
    assert kernels.fastest("test", *SHAPE, {"first": wait(1.0), "second": wait(0.95)}) == "first"


def test_a_way_whose_rows_depend_on_their_number_is_not_taken(cache):
    ways = {"slow": wait(6), "fast": lambda: lambda x: x * len(x)}
    assert kernels.fastest("test", *SHAPE, ways) == "slow"


def test_training_takes_whatever_is_fastest(cache):
    """Its results depend on the batch anyway."""
    ways = {"first": wait(1.0), "second": wait(0.95)}
    assert kernels.fastest("test", *SHAPE, ways, for_decoding=False) == "second"
    ways = {"slow": wait(6), "of all rows": lambda: lambda x: x * len(x)}
    assert kernels.fastest("other", *SHAPE, ways, for_decoding=False) == "of all rows"


def test_what_another_process_wrote_meanwhile_counts(cache, monkeypatch):
    """Both time at once, and the other one is done first."""

    def other_is_faster(*args):
        kernels._write_once(path, "b")
        return "a"

    path = cache / "kernels" / kernels._machine() / f"test-512-512-{torch.get_num_threads()}"
    monkeypatch.setattr(kernels, "_timed", other_is_faster)
    assert kernels.fastest("test", *SHAPE, {"a": wait(1), "b": wait(1)}) == "b"
    assert [path.name for path in written(cache)] == [path.name]


def test_without_a_cache_all_take_the_first_way(cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FUNRECIPE_CACHE", str(tmp_path / "file" / "cache"))
    assert kernels.fastest("test", *SHAPE, {"slow": wait(6), "fast": wait(1)}) == "slow"


def test_an_unknown_word_in_the_cache_is_not_believed(cache):
    kernels.fastest("test", *SHAPE, {"slow": wait(6), "fast": wait(1)})
    written(cache)[0].write_text("newer")
    assert kernels.fastest("test", *SHAPE, {"slow": wait(6), "fast": wait(1)}) == "slow"


def test_small_layers_are_not_timed(cache):
    assert kernels.fastest("test", 64, 64, {"a": wait(1), "b": wait(1)}) == "a"
    assert not written(cache)


def test_two_processes_agree(cache):
    code = "from funrecipe.models import packed as p\nprint(type(p._packed(p.nn.Linear(512, 512), 'fp32')))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in running]
    assert said[0] == said[1] != ""
    assert len(written(cache)) == 1


@pytest.mark.parametrize("choice", ["onnxruntime", "packed", "plain"])
def test_either_way_gives_the_plain_result(choice, monkeypatch):
    if choice == "onnxruntime":
        pytest.importorskip("onnxruntime")
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(packed, "fastest", lambda *args: choice)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 600), nn.ReLU(), nn.Linear(600, 512)).requires_grad_(False)
    x = torch.randn(3, 40, 512)
    wanted = model(x)
    assert torch.allclose(packed.pack_linears(model)(x), wanted, atol=1e-5)
    assert (type(model[0]) is nn.Linear) == (choice == "plain")


def test_training_leaves_to_mkl_what_it_multiplies_faster(monkeypatch):
    monkeypatch.setattr(cpu_layers, "fastest", lambda what, inputs, *_, **__: "mkl" if inputs == 512 else "onednn")
    model = cpu_layers.use_cpu_layers(nn.Sequential(nn.Linear(512, 600), nn.Dropout(0.1), nn.Linear(600, 512)))
    assert [type(layer) for layer in model] == [nn.Linear, cpu_layers.CpuDropout, cpu_layers.CpuLinear]
