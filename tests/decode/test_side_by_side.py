"""Utterances side by side: hypotheses and scores are those of each alone to the last bit, in every precision."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_model, load_recognizer
from funrecipe.decode.streaming import load_streaming_recognizer
from funrecipe.model_folder import open_model_folder
from funrecipe.models import packed, side_by_side
from funrecipe.models.layers import FeedForward
from funrecipe.models.sanm import SANMEncoder

GOLDEN = Path(__file__).parents[1] / "data" / "parity"
SETTINGS = [
    ("paraformer", {}),
    ("paraformer", {"nbest": 3, "beam_size": 4}),
    ("bicif_paraformer", {}),
    ("contextual_paraformer", {"hotword": "着就 和"}),
    ("conformer", {"beam_size": 3, "ctc_weight": 0.5}),
    ("transformer", {"beam_size": 3, "ctc_weight": 0.3}),
    ("rnnt", {"beam_size": 3}),
    ("seaco_paraformer", {"hotword": "气很 好"}),
    ("paraformer_ctc", {"beam_size": 3, "ctc_weight": 0.3}),
    ("uniasr", {}),
    ("sensevoice_small", {}),
]


@pytest.fixture(autouse=True)
def small_layers_meet(monkeypatch):
    monkeypatch.setattr(side_by_side, "LEAST_WEIGHTS", 1)
    monkeypatch.setattr(side_by_side, "LARGE_MODEL", 1)
    monkeypatch.setattr(side_by_side, "_least", {})


def noise(*lengths):
    rng = np.random.default_rng(7)
    return [rng.uniform(-0.3, 0.3, n).astype(np.float32) for n in lengths]


@pytest.fixture
def calls(monkeypatch):
    """How many utterances each call of a layer was for."""
    counts = []
    meet_once = side_by_side._meet_once

    def counted(waiting):
        met = meet_once(waiting)
        counts.append(len(met))
        return met

    monkeypatch.setattr(side_by_side, "_meet_once", counted)
    return counts


@pytest.mark.cpu
@pytest.mark.parametrize(
    "case,options,precision",
    [(*setting, precision) for setting in SETTINGS for precision in ("fp32", "fp16", "int8")]
    + [("conformer", {}, "bf16")],
)
def test_hypotheses_are_those_of_each_utterance_alone(case, options, precision, calls):
    if precision not in packed.cpu_precisions():
        pytest.skip(f"this CPU does not multiply in {precision}")
    recognizer = load_recognizer(
        open_model_folder(GOLDEN / case), options=DecodeOptions(precision=precision, **options)
    )
    waves = noise(16000, 10, 41234, 400, 12000, 0, 30000, 900, 41234)
    alone = [recognizer.transcribe([wave])[0] for wave in waves]
    assert not calls and len({hypothesis.score for hypothesis in alone}) > 3
    assert recognizer.transcribe(waves) == alone
    assert max(calls) > 3
    assert recognizer.transcribe(waves[::-1]) == alone[::-1]
    assert recognizer.transcribe(waves[:2]) + recognizer.transcribe(waves[2:]) == alone


@pytest.mark.cpu
@pytest.mark.parametrize("most_rows", [3, 20])
def test_few_rows_in_a_call_change_nothing(most_rows, monkeypatch):
    recognizer = load_recognizer(open_model_folder(GOLDEN / "paraformer"))
    waves = noise(16000, 41234, 30000, 900, 41234)
    together = recognizer.transcribe(waves)
    monkeypatch.setattr(side_by_side, "MOST_ROWS", most_rows)
    assert recognizer.transcribe(waves) == together


@pytest.mark.cpu
@pytest.mark.skipif("int8" not in packed.cpu_precisions(), reason="this CPU does not multiply in int8")
def test_streams_are_those_of_each_alone(calls):
    recognizer = load_streaming_recognizer(
        open_model_folder(GOLDEN / "paraformer_online"), options=DecodeOptions(precision="int8")
    )
    waves = noise(9600, 9600, 28800)

    def feed(numbers):
        caches = [{} for _ in numbers]
        first = recognizer.feed_many([(waves[n], cache, False) for n, cache in zip(numbers, caches)])
        return list(zip(first, recognizer.feed_many([(waves[n], cache, True) for n, cache in zip(numbers, caches)])))

    alone = [feed([number])[0] for number in range(3)]
    assert not calls
    assert feed([0, 1, 2]) == alone
    assert calls.count(3) > 3


@pytest.mark.skipif("int8" not in packed.cpu_precisions(), reason="this CPU does not multiply in int8")
@pytest.mark.parametrize("case,expected", [("paraformer", {False}), ("paraformer_online", {True})])
def test_models_that_recognize_streams_expect_few_rows(case, expected):
    model = load_model(open_model_folder(GOLDEN / case), device="cpu", precision="int8")
    assert {layer.few_rows for layer in model.modules() if type(layer) is packed.Int8Linear} == expected


def meeting_layers(count, width=32):
    layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(count)))
    return side_by_side.meet(packed.pack_linears(layers))


def test_tasks_that_lag_behind_are_caught_up_with(calls):
    layers = meeting_layers(2)
    x = torch.randn(10, 32)

    def task(detour):
        y = layers[0](x)
        for _ in range(detour):
            y = layers[0](y.tanh())
        return layers[1](y)

    with torch.inference_mode():
        alone = [task(detour) for detour in (0, 0, 2)]
        together = side_by_side.side_by_side([partial(task, detour) for detour in (0, 0, 2)])
    assert all(map(torch.equal, alone, together))
    assert calls[0] == 3


def test_an_error_of_one_is_raised_and_ends_the_others(calls):
    layers = meeting_layers(2)
    ended = []

    def task(number):
        try:
            y = layers[0](torch.randn(10, 32))
            if number == 1:
                raise MemoryError("no room")
            return layers[1](y)
        finally:
            ended.append(number)

    with pytest.raises(MemoryError, match="no room"), torch.inference_mode():
        side_by_side.side_by_side([partial(task, number) for number in range(3)])
    assert sorted(ended) == [0, 1, 2]
    assert calls == [3]


def test_tasks_run_in_the_context_of_the_call():
    layers = meeting_layers(1)

    def task():
        layers[0](torch.randn(10, 32))
        with torch.no_grad():
            layers[0](torch.randn(10, 32))
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with torch.inference_mode():
        assert side_by_side.side_by_side([task] * 3) == [(True, False)] * 3
    with torch.no_grad():
        assert side_by_side.side_by_side([task] * 3) == [(False, False)] * 3


def test_a_layer_whose_rows_depend_on_each_other_is_not_met_at(calls):
    class Whole(FeedForward):
        def forward(self, x):
            return super().forward(x / x.abs().max())

    block = side_by_side.meet(packed.pack_linears(Whole(32, 64, 0.0).eval()))
    inputs = [torch.randn(rows, 32) for rows in (10, 20, 30)]
    with torch.inference_mode():
        alone = [block(x) for x in inputs]
        together = side_by_side.side_by_side([partial(block, x) for x in inputs])
    assert all(map(torch.equal, alone, together))
    assert calls == [3, 3]  # its two linear layers


@pytest.mark.parametrize("precision", sorted(packed.cpu_precisions() - {"bf16"}))
@pytest.mark.parametrize(
    "size,heads,kernel_size,shift", [(64, 4, 11, 0), (45, 3, 7, 0), (70, 5, 31, 2), (64, 4, 10, 0), (64, 2, 5, 3)]
)
def test_encoder_layers_are_met_at_as_a_whole_unless_there_are_masks(size, heads, kernel_size, shift, precision, calls):
    """The odd sizes are those whose rows are not aligned in memory."""
    torch.manual_seed(1)
    encoder = SANMEncoder(80, size, heads, 130, num_blocks=3, kernel_size=kernel_size, sanm_shfit=shift).eval()
    side_by_side.meet(packed.pack_linears(encoder.requires_grad_(False), precision))
    inputs = [torch.randn(1, frames, 80) for frames in (75, 3, 40, 12, 1, 2, 131)]

    def results(missing):
        tasks = [partial(encoder, x, torch.tensor([x.size(1) - missing])) for x in inputs]
        with torch.inference_mode():
            alone = [task()[0] for task in tasks]
            assert not calls
            return alone, [encoder_out for encoder_out, _ in side_by_side.side_by_side(tasks)]

    alone, together = results(0)
    assert all(map(torch.equal, alone, together))
    assert max(calls) > 4 and calls.count(max(calls)) == 3
    calls.clear()
    alone, together = results(1)
    assert all(map(torch.equal, alone, together))
    assert max(calls) > 4 and calls.count(max(calls)) == 3 * 3


def test_encoder_layers_of_several_padded_rows_are_not_met_at_as_a_whole(calls):
    encoder = SANMEncoder(80, 64, 4, 128, num_blocks=2).eval().requires_grad_(False)
    side_by_side.meet(packed.pack_linears(encoder))
    inputs = [torch.randn(rows, 20, 80) for rows in (2, 1, 3)]
    with torch.inference_mode():
        alone = [encoder(x, torch.tensor([20] * len(x)))[0] for x in inputs]
        tasks = [partial(encoder, x, torch.tensor([20] * len(x))) for x in inputs]
        together = [encoder_out for encoder_out, _ in side_by_side.side_by_side(tasks)]
        layer = encoder.encoders[0]
        assert torch.equal(layer(alone[1], frame_mask=None), layer(alone[1]))
    assert all(map(torch.equal, alone, together)) and calls


def test_neighbors_in_memory_are_joined_where_they_are():
    x = torch.randn(12, 5)
    parts = x[1:11].split([2, 3, 5])
    joined = side_by_side._join(parts)
    assert torch.equal(joined, x[1:11]) and joined.data_ptr() == parts[0].data_ptr()
    for others in (parts[::-1], (parts[0], parts[2]), (parts[0], parts[1].clone()), x.t().split([2, 3])):
        joined = side_by_side._join(others)
        assert torch.equal(joined, torch.cat(list(others))) and joined.data_ptr() != others[0].data_ptr()
    assert torch.equal(side_by_side._join([x[:0], x[:4]]), x[:4])


def test_a_single_row_is_computed_alone(calls):
    layers = meeting_layers(1)
    with torch.inference_mode():
        side_by_side.side_by_side([partial(layers[0], torch.randn(1, 32)) for _ in range(3)])
    assert calls == []
