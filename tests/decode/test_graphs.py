"""CUDA graphs without CUDA: a recorder that notes operations and repeats them on the same tensors."""

import contextlib
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from funrecipe.decode.fixed_shapes import FixedShapes, Tile
from funrecipe.decode.graphs import Graphs
from funrecipe.decode.recognizer import load_model
from funrecipe.model_folder import open_model_folder

GOLDEN = Path(__file__).parents[1] / "data" / "parity"


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
        self.graphs = []

    def warm_up(self, call):
        call()

    def graph(self):
        self.graphs.append(FakeGraph())
        return self.graphs[-1]

    @contextlib.contextmanager
    def recording(self, graph):
        with Noting(graph.notes):
            yield


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
    assert [graph.replays for graph in recorder.graphs] == [3]
    assert network.calls == 2  # warm-up and recording
    graphs((3, 5), [torch.randn(3, 5), torch.tensor([5, 5, 5])], [2.0])
    assert len(recorder.graphs) == 2


def test_other_shared_values_make_another_graph():
    recorder = FakeRecorder()
    graphs = Graphs(lambda x, context: x + context.sum(), "decode", recorder)
    x, contexts = torch.ones(1, 2), [torch.ones(3), torch.zeros(3)]
    found = [graphs((1, 2), [x], [context])[0, 0].item() for context in (*contexts, contexts[0])]
    assert found == [4.0, 1.0, 4.0]
    assert [graph.replays for graph in recorder.graphs] == [2, 1]


def test_a_network_that_cannot_be_recorded_is_called_as_ever(caplog):
    def asks(x):
        return x * 2 if bool((x > 0).all()) else x

    recorder = FakeRecorder()
    graphs = Graphs(asks, "encode", recorder)
    with caplog.at_level("INFO"):
        assert graphs((2,), [torch.ones(2)]).tolist() == [2.0, 2.0]
        assert graphs((2,), [-torch.ones(2)]).tolist() == [-1.0, -1.0]
    assert "encode is computed without CUDA graphs: operation not permitted" in caplog.text
    assert len(recorder.graphs) == 1


def test_without_memory_for_a_graph_tiles_get_smaller_and_old_graphs_go():
    def crowded(x, lens):
        if x.size(0) > 2:
            raise RuntimeError("CUDA out of memory")
        return x + 1

    recorder = FakeRecorder()
    shapes = FixedShapes(crowded, Tile(64), graphs=Graphs(crowded, "encode", recorder))
    out = shapes(torch.zeros(5, 8), torch.full((5,), 8))
    assert torch.equal(out, torch.ones(5, 8))
    assert shapes.tile.frames == 16
    assert [graph.replays for graph in recorder.graphs] == [0, 0, 3]


@pytest.mark.parametrize("size", [1, 3])
def test_tiles_by_graphs_are_those_by_calls(size):
    network = Network()
    x, lens = torch.randn(size, 20), torch.tensor([20, 9, 3][:size])
    by_calls = FixedShapes(network, Tile(32))(x, lens, 0.5)
    by_graphs = FixedShapes(network, Tile(32), graphs=Graphs(network, "encode", FakeRecorder()))(x, lens, 0.5)
    for one, other in zip(by_calls, by_graphs, strict=True):
        assert torch.equal(one, other)


def test_a_paraformer_asks_the_device_nothing_while_it_is_recorded():
    folder = open_model_folder(GOLDEN / "paraformer")
    model = load_model(folder, device="cpu", tile=Tile(64))
    feats = torch.randn(2, 12, model.encoder.input_size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        by_calls = model.encode(feats, torch.tensor([12, 7]))
        recorder = FakeRecorder()
        model.encode.graphs = Graphs(model.encode.function, "encode", recorder)
        by_graphs = [model.encode(feats, torch.tensor([12, 7])) for _ in range(2)]
        embeds, token_lens = by_calls[0][:, :5], torch.tensor([5, 2])
        plain = model.decode(*by_calls, embeds, token_lens)
        model.decode.graphs = Graphs(model.decode.function, "decode", recorder)
        decoded = [model.decode(*by_calls, embeds, token_lens) for _ in range(2)]
    assert all(torch.equal(encoded, by_calls[0]) for encoded, _ in by_graphs)
    assert all(torch.equal(log_probs, plain) for log_probs in decoded)
    assert sum(graph.replays for graph in recorder.graphs) > len(recorder.graphs) > 2
