"""CUDA graphs without CUDA: a recorder that notes operations and repeats them on the same tensors."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from funrecipe.decode.fixed_shapes import FixedShapes, Tile
from funrecipe.decode.graphs import Graphs, Recorder
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.decode.tiled_model import REDUCED
from funrecipe.model_folder import open_model_folder

PARITY = Path(__file__).parents[1] / "data" / "parity"
TILED = {
    "paraformer": {},
    "bicif_paraformer": {},
    "seaco_paraformer": {"hotword": "着就 和"},
    "contextual_paraformer": {"hotword": "着就 和"},
    "conformer": {"decoding_mode": "ctc_greedy"},
    "transformer": {"decoding_mode": "ctc_greedy"},
    "rnnt": {"beam_size": 1},
    "sensevoice_small": {},
}


def noise(*lengths):
    rng = np.random.default_rng(7)
    return [rng.uniform(-0.3, 0.3, n).astype(np.float32) for n in lengths]


class Noting(TorchDispatchMode):
    def __init__(self, notes):
        super().__init__()
        self.notes = notes

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = function(*args, **(kwargs or {}))
        self.notes.append((function, args, kwargs or {}, result))
        return result


class FakeGraph:
    def __init__(self):
        self.notes, self.replays = [], 0

    def replay(self):
        """As on a card: every operation again, from where its inputs were to where its results were."""
        self.replays += 1
        for function, args, kwargs, result in self.notes:
            again, _ = tree_flatten(function(*args, **kwargs))
            for old, new in zip(tree_flatten(result)[0], again, strict=True):
                if isinstance(old, torch.Tensor) and old is not new:
                    old.copy_(new)


class FakeRecorder:
    def __init__(self):
        self.graphs, self.renewed = [], 0

    def renew(self):
        self.renewed += 1

    def record(self, call):
        graph = FakeGraph()
        self.graphs.append(graph)
        with Noting(graph.notes):
            return graph, call()


class Network:
    """Counts its calls from Python."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, lens, scale):
        self.calls += 1
        mask = torch.arange(x.size(1)) < lens[:, None]
        return torch.relu(x * scale) * mask, lens + 1


def test_a_shape_is_recorded_once_and_replayed():
    network, recorder = Network(), FakeRecorder()
    graphs = Graphs(network, "encode", recorder)
    results = []
    for seed in range(3):
        x, lens = torch.randn(2, 5, generator=torch.Generator().manual_seed(seed)), torch.tensor([5, 3 + seed % 2])
        results.append(((x, lens), graphs((2, 5), [x, lens], [2.0])))
    for (x, lens), (out, out_lens) in results:  # each result is the caller's own: a later replay leaves it alone
        wanted, wanted_lens = Network()(x, lens, 2.0)
        assert torch.equal(out, wanted) and torch.equal(out_lens, wanted_lens)
    assert [graph.replays for graph in recorder.graphs] == [2]
    assert network.calls == 2  # the first time, and for the recording
    for _ in range(2):
        graphs((3, 5), [torch.randn(3, 5), torch.tensor([5, 5, 5])], [2.0])
    assert len(recorder.graphs) == 2


def test_the_first_call_of_a_thread_is_an_ordinary_one():
    network, recorder = Network(), FakeRecorder()
    graphs = Graphs(network, "encode", recorder)

    def call():
        graphs((2, 5), [torch.ones(2, 5), torch.tensor([5, 3])], [2.0])
        replays.append(sum(graph.replays for graph in recorder.graphs))

    replays = []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            call()
        for _ in range(2):
            pool.submit(call).result()
    assert replays == [0, 1, 1, 2]


def test_other_shared_values_make_another_graph():
    recorder = FakeRecorder()
    graphs = Graphs(lambda x, context: x + context.sum(), "decode", recorder)
    x, contexts = torch.ones(1, 2), [torch.ones(3), torch.zeros(3)]
    found = [graphs((1, 2), [x], [context])[0, 0].item() for context in (*contexts, *contexts, contexts[0])]
    assert found == [4.0, 1.0, 4.0, 1.0, 4.0]
    assert [graph.replays for graph in recorder.graphs] == [2, 1]


def asks_for_a_value(x):
    return x * 2 if bool((x > 0).all()) else x


def asks_for_a_mask(x):
    return x[x > 0]


def asks_for_indices(x):
    return x.nonzero()


@pytest.mark.parametrize("asks", [asks_for_a_value, asks_for_a_mask, asks_for_indices])
def test_a_network_that_waits_for_the_device_is_never_recorded(asks, caplog):
    recorder = FakeRecorder()
    graphs = Graphs(asks, "encode", recorder)
    with caplog.at_level("INFO"):
        for x in (torch.ones(2), torch.ones(2), -torch.ones(2)):
            assert torch.equal(graphs((2,), [x]), asks(x))
    assert "encode is computed without CUDA graphs: aten." in caplog.text
    assert not recorder.graphs


def test_a_network_that_cannot_be_recorded_is_called_as_ever(caplog):
    class Refusing(FakeRecorder):
        def record(self, call):
            super().record(call)
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture\nand more")

    recorder = Refusing()
    graphs = Graphs(lambda x: x + 1, "encode", recorder)
    with caplog.at_level("INFO"):
        assert [graphs((2,), [torch.ones(2)]).tolist() for _ in range(4)] == [[2.0, 2.0]] * 4
    assert "encode is computed without CUDA graphs: CUDA error: operation failed" in caplog.text
    assert "and more" not in caplog.text
    assert len(recorder.graphs) == 1


def test_without_memory_for_a_graph_tiles_get_smaller_and_old_graphs_go():
    room = [8]

    def crowded(x, lens):
        if x.size(0) > room[0]:
            raise RuntimeError("CUDA out of memory")
        return x + 1

    recorder, others, tile = FakeRecorder(), FakeRecorder(), Tile(64)
    shapes = FixedShapes(crowded, tile, graphs=Graphs(crowded, "encode", recorder))
    FixedShapes(crowded, tile, graphs=Graphs(crowded, "decode", others))
    for _ in range(2):
        shapes(torch.zeros(5, 8), torch.full((5,), 8))
    room[0] = 2  # another process has taken the rest
    out = shapes(torch.zeros(3, 16), torch.full((3,), 16))
    assert torch.equal(out, torch.ones(3, 16))
    assert shapes.tile.frames == 32
    assert [graph.replays for graph in recorder.graphs] == [1, 1]
    assert recorder.renewed == others.renewed == 1  # the memory pool of forgotten graphs cannot be used again


@pytest.mark.parametrize("size", [1, 3])
def test_tiles_by_graphs_are_those_by_calls(size):
    network = Network()
    x, lens = torch.randn(size, 20), torch.tensor([20, 9, 3][:size])
    by_calls = FixedShapes(network, Tile(32))(x, lens, 0.5)
    by_graphs = FixedShapes(network, Tile(32), graphs=Graphs(network, "encode", FakeRecorder()))(x, lens, 0.5)
    for one, other in zip(by_calls, by_graphs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("case", TILED)
def test_every_network_in_tiles_can_be_recorded(case):
    waves = noise(9000, 8700, 4000)
    options, folder = DecodeOptions(**TILED[case]), open_model_folder(PARITY / case)
    recognizer = load_recognizer(folder, options=options, tile=Tile(48))
    wanted = recognizer.transcribe(waves)
    recorder, model = FakeRecorder(), recognizer.search.model
    tiled = [getattr(model, name) for name in folder.row.tiled if name in REDUCED]
    for method in tiled:
        method.graphs = Graphs(method.function, "tiles", recorder)
    for _ in range(3):
        found = recognizer.transcribe(waves)
    assert [(h.tokens, h.score) for h in found] == [(h.tokens, h.score) for h in wanted]
    assert sum(graph.replays for graph in recorder.graphs) > len(recorder.graphs) >= len(tiled)


class FakeCuda:
    """What a recorder asks of torch.cuda, noted in order; ``fails``: ending a recording is refused."""

    def __init__(self, monkeypatch, *, fails):
        self.calls, self.fails, self.stream = [], fails, "usual"
        for name in ("Stream", "current_stream", "CUDAGraph"):
            monkeypatch.setattr(torch.cuda, name, lambda *_: self)
        monkeypatch.setattr(torch.cuda, "stream", self.on_stream)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, len(self.calls)))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: self.calls.append("empty"))
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *_: self.calls.append("mend"), raising=False)

    device_index = 0

    @contextlib.contextmanager
    def on_stream(self, stream):
        self.stream = "recording"
        try:
            yield
        finally:
            self.stream = "usual"

    def wait_stream(self, other):
        self.calls.append(f"wait on {self.stream}")

    def capture_begin(self, **_):
        self.calls.append(f"begin on {self.stream}")

    def capture_end(self):
        self.calls.append(f"end on {self.stream}")
        if self.fails:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def test_a_recording_has_a_stream_and_memory_of_its_own(monkeypatch):
    cuda = FakeCuda(monkeypatch, fails=False)
    graph, outputs = Recorder(torch.device("cuda:0")).record(lambda: cuda.calls.append("call") or 5)
    assert (graph, outputs) == (cuda, 5)
    order = ["empty", "wait on usual", "begin on recording", "call", "end on recording", "wait on usual"]
    assert cuda.calls == order


def test_a_recording_that_fails_leaves_things_as_they_were(monkeypatch):
    cuda = FakeCuda(monkeypatch, fails=True)
    with pytest.raises(RuntimeError, match="during capture"):
        Recorder(torch.device("cuda:0")).record(lambda: 5)
    assert cuda.calls[-2:] == ["end on recording", "mend"]
    assert cuda.stream == "usual"
