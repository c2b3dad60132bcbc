"""Batches in tiles: shapes depend on an utterance alone, so results do not depend on neighbors, order or batch size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from funrecipe.audio.io import read_audio
from funrecipe.decode.fixed_shapes import FixedShapes, Tile, padded_length
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.errors import UsageError
from funrecipe.model_folder import open_model_folder
from funrecipe.models.ctc import CTC

GOLDEN = Path(__file__).parents[1] / "data" / "parity"
QUICKSTART = Path(__file__).parents[2] / "egs" / "quickstart"
TILED = {
    "paraformer": {},
    "seaco_paraformer": {"hotword": "着就 和"},
    "contextual_paraformer": {"hotword": "着就 和"},
    "conformer": {"decoding_mode": "ctc_greedy"},
    "rnnt": {"beam_size": 1},
    "sensevoice_small": {},
}


def noise(*lengths):
    rng = np.random.default_rng(7)
    return [rng.uniform(-0.3, 0.3, n).astype(np.float32) for n in lengths]


def test_the_grid_never_shortens_and_adds_a_quarter_at_most():
    lengths = [padded_length(n) for n in range(1, 3000)]
    assert all(n <= padded < max(n + 8, 1.25 * n) for n, padded in enumerate(lengths, start=1))
    assert lengths == sorted(lengths)
    assert all(padded % 8 == 0 for padded in lengths)
    assert len(set(lengths[:512])) == 20


class Shapes:
    """Sums rows, and notes what it is called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, lens, names, shared=None):
        self.calls.append((tuple(x.shape), shared))
        mask = torch.arange(x.size(1)) < lens[:, None]
        return x * mask, names


def test_rows_come_back_in_order_whatever_they_were_computed_with():
    lens = torch.tensor([3, 90, 9, 40, 5, 41, 12])
    x = torch.randn(7, 90)
    function = Shapes()
    out, names = FixedShapes(function, Tile(96))(x, lens, torch.arange(7), "shared")
    assert names.tolist() == list(range(7))
    for row, length in enumerate(lens.tolist()):
        assert torch.equal(out[row, :length], x[row, :length])
        assert not out[row, length:].any()
    assert function.calls == [((12, 8), "shared"), ((1, 96), "shared"), ((6, 16), "shared"), ((2, 40), "shared"),
                              ((2, 48), "shared")]  # fmt: skip


def test_a_row_has_the_same_shape_in_every_batch():
    x, lens = torch.randn(6, 60), torch.tensor([60, 33, 60, 20, 34, 8])
    seen = {}
    for rows in ([0], [1], [0, 1, 2, 3, 4, 5], [5, 3, 1], [4, 1, 0]):
        function = Shapes()
        FixedShapes(function, Tile(64))(x[rows], lens[rows], torch.arange(len(rows)))
        for length in lens[rows].tolist():
            shapes = {shape for shape, _ in function.calls if shape[1] == padded_length(length)}
            assert len(shapes) == 1
            assert seen.setdefault(length, shapes) == shapes


@pytest.mark.parametrize("case", ["conformer", "sensevoice_small"])
def test_a_ctc_head_sees_as_many_rows_whatever_the_batch_is(case, monkeypatch):
    rows = []
    log_probs = CTC.log_probs
    monkeypatch.setattr(CTC, "log_probs", lambda self, x: rows.append(x.shape[:-1]) or log_probs(self, x))
    recognizer = load_recognizer(open_model_folder(GOLDEN / case), options=DecodeOptions(**TILED[case]), tile=Tile(48))
    for waves in (noise(9000), noise(9000, 16000, 8700, 400), noise(16000)):
        recognizer.transcribe(waves)
    assert set(rows) == {(48,)}


def test_tokens_are_padded_by_frames_and_their_own_number():
    shapes = FixedShapes(lambda *args: args, Tile(64), pairs=2)
    assert shapes.shape_of([40, 20]) == (40, 20)
    assert shapes.shape_of([40, 0]) == (40, 20)
    assert shapes.shape_of([40, 21]) == (40, 41)
    assert shapes.shape_of([33, 41]) == (40, 41)


class Crowded(Shapes):
    """Has room for so many elements."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def __call__(self, x, lens, names):
        if x.numel() > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return super().__call__(x, lens, names)


def test_without_memory_tiles_get_smaller_and_stay_so():
    x, lens, names = torch.randn(8, 16), torch.full((8,), 16), torch.arange(8)
    function = Crowded(room=40)
    shapes = FixedShapes(function, Tile(128))
    for _ in range(2):
        out, found = shapes(x, lens, names)
        assert torch.equal(out, x) and found.tolist() == list(range(8))
    assert shapes.tile.frames == 32
    assert {shape for shape, _ in function.calls} == {(2, 16)}
    with pytest.raises(MemoryError, match="out of memory"):
        FixedShapes(Crowded(room=10), Tile(128))(x, lens, names)


@pytest.mark.parametrize("case,precision", [("paraformer", "fp32"), *((case, "bf16") for case in TILED)])
def test_results_do_not_depend_on_batches_in_any_precision(case, precision):
    waves = noise(9000, 10, 16000, 400, 9500, 8700)
    options = DecodeOptions(precision=precision, **TILED[case])
    recognizer = load_recognizer(open_model_folder(GOLDEN / case), options=options, tile=Tile(48))
    together = recognizer.transcribe(waves)
    order = np.random.default_rng(3).permutation(len(waves))
    shuffled = recognizer.transcribe([waves[i] for i in order])
    apart = [hypothesis for start in (0, 4) for hypothesis in recognizer.transcribe(waves[start : start + 4])]
    alone = [recognizer.transcribe([wave])[0] for wave in waves]
    assert sum(len(h.tokens) for h in together) > 0 or case == "sensevoice_small"
    for other in (alone, apart, [shuffled[i] for i in np.argsort(order)]):
        assert [(h.tokens, h.text) for h in other] == [(h.tokens, h.text) for h in together]
        assert [h.score for h in other] == pytest.approx([h.score for h in together], abs=1e-4)


@pytest.mark.parametrize("case", ["paraformer", "conformer"])
def test_in_fp32_tiles_give_what_the_plain_path_gives(case):
    waves, folder, options = noise(9000, 16000, 400), open_model_folder(GOLDEN / case), DecodeOptions(**TILED[case])
    plain, tiled = (load_recognizer(folder, options=options, tile=t).transcribe(waves) for t in (None, Tile(48)))
    assert [(h.tokens, h.text) for h in tiled] == [(h.tokens, h.text) for h in plain]
    assert [h.score for h in tiled] == pytest.approx([h.score for h in plain], abs=1e-3)


def test_bf16_is_close_to_fp32_on_speech():
    waves = [read_audio(path, sample_rate_hz=16000) for path in sorted((QUICKSTART / "data/wav").iterdir())[:3]]
    folder, greedy = open_model_folder(QUICKSTART / "model"), {"ctc_weight": 0.0, "ngram_weight": 0.0, "penalty": 0.0}
    exact = load_recognizer(folder, options=DecodeOptions(**greedy)).transcribe(waves)
    options = DecodeOptions(precision="bf16", **greedy)
    quick = load_recognizer(folder, options=options, tile=Tile(100)).transcribe(waves)
    assert [h.score for h in quick] != [h.score for h in exact]
    assert sum(h.score for h in quick) == pytest.approx(sum(h.score for h in exact), rel=0.05)
    assert sum(len(h.tokens) for h in quick) == pytest.approx(sum(len(h.tokens) for h in exact), rel=0.05)


def test_a_family_without_tiles_is_not_computed_in_bf16_on_a_gpu():
    folder, tile = open_model_folder(GOLDEN / "uniasr"), Tile(64)
    with pytest.raises(UsageError, match="not computed in bf16"):
        load_recognizer(folder, options=DecodeOptions(precision="bf16"), tile=tile)
    with pytest.raises(UsageError, match="int8 is not supported on a GPU"):
        load_recognizer(
            open_model_folder(GOLDEN / "paraformer"), options=DecodeOptions(precision="int8"), tile=Tile(64)
        )


def test_a_batch_is_a_tile():
    recognizer = load_recognizer(open_model_folder(GOLDEN / "paraformer"), tile=Tile(256))
    (shape, rows), (_, more) = recognizer.tile_of(16000 * 3), recognizer.tile_of(8000)
    assert shape[0] >= 48000 and 1 <= rows < more
    assert load_recognizer(open_model_folder(GOLDEN / "paraformer")).tile_of is None
