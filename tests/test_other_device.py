"""Everything that computes on a GPU, without one: on a device whose tensors refuse those of the CPU.

Their numbers are in memory as ever, so results are those of the CPU, and whatever brings tensors of both together, or
reads one as an array without fetching it, fails as it would on a GPU. torch's device ``lazy`` lends its name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from funrecipe.checkpoint import load_weights
from funrecipe.decode import tiled_model
from funrecipe.decode.fixed_shapes import Tile
from funrecipe.decode.options import DecodeOptions
from funrecipe.decode.recognizer import load_recognizer
from funrecipe.decode.streaming import load_streaming_recognizer
from funrecipe.decode.text_alignment import load_aligner
from funrecipe.families import MARKED_TEXTS, SEGMENTS, TEXTS
from funrecipe.model_folder import ModelFolder, open_model_folder
from funrecipe.models import transducer_loss
from funrecipe.models.registry import build_model, input_size
from funrecipe.punctuation.punctuator import load_punctuator
from funrecipe.speaker.embedding import load_speaker_model
from funrecipe.train.data.batching import Batch, Example, collate
from funrecipe.train.objectives.compute import compute_loss
from funrecipe.vad.detector import load_detector

PARITY = Path(__file__).parent / "data/parity"
THERE = torch.device("lazy:0")
COPIES = {"_to_copy", "copy_"}
TAKE_LENGTHS_HERE = {"_pack_padded_sequence", "lstm", "_ctc_loss"}
make_tensor = torch.tensor


class Remote(Tensor):
    """A tensor on the other device; ``numbers``: what is in it."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, numbers: Tensor) -> Remote:
        return Tensor._make_wrapper_subclass(
            cls, numbers.size(), strides=numbers.stride(), storage_offset=numbers.storage_offset(), dtype=numbers.dtype,
            device=THERE,
        )  # fmt: skip

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})

    def __getitem__(self, key: Any) -> Tensor:
        return Tensor.__getitem__(self, Remote(make_tensor(key)) if isinstance(key, list) else key)

    def __setitem__(self, key: Any, value: Any) -> None:
        Tensor.__setitem__(self, Remote(make_tensor(key)) if isinstance(key, list) else key, value)

    def new_tensor(self, data: Any) -> Tensor:
        return Remote(make_tensor(data, dtype=self.dtype))

    def tolist(self) -> Any:
        return self.numbers.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert a tensor of another device to numpy")

    __array__ = numpy


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """``func`` where its tensors are, or where ``device`` says."""
    name, tensors = func.overloadpacket.__name__, [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    remote = [x for x in tensors if isinstance(x, Remote)]
    if remote and name not in COPIES | TAKE_LENGTHS_HERE and any(x.dim() for x in tensors if not isinstance(x, Remote)):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    device = kwargs.get("device")
    goes_there = bool(remote) if device is None else device.type == THERE.type
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    arguments, settings = tree_map(lambda x: x.numbers if isinstance(x, Remote) else x, (args, kwargs))
    with torch.no_grad():
        result = func(*arguments, **settings)
    if name == "_pack_padded_sequence":  # the sizes of its steps are read by the CPU
        return Remote(result[0]), result[1]
    wrapped = tree_map(lambda x: Remote(x) if isinstance(x, Tensor) and goes_there else x, result)
    written = [x for x, it in zip(args, func._schema.arguments) if it.alias_info and it.alias_info.is_write]
    return written[0] if written and func._schema.returns[0].alias_info else wrapped


class Dispatch(TorchDispatchMode):
    """Sees what is created on the other device, too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def tensor_there(data: Any, *, device: Any = None, **settings: Any) -> Tensor:
    made = data if isinstance(data, Tensor) else make_tensor(data, **settings)
    goes_there = device is not None and torch.device(device) == THERE and not isinstance(made, Remote)
    return Remote(made) if goes_there else made


@contextlib.contextmanager
def other_device() -> Iterator[torch.device]:
    is_overwriting = torch.__future__.get_overwrite_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as grads, Dispatch():
        patch.setattr(torch, "tensor", tensor_there)
        patch.setattr(torch, "as_tensor", tensor_there)
        # wrapped tensors have no inference mode, and the device no autocast and no random numbers to keep
        patch.setattr(torch.inference_mode, "__enter__", lambda self: grads.enter_context(torch.no_grad()))
        patch.setattr(torch.inference_mode, "__exit__", lambda self, *_: None)
        patch.setattr(tiled_model, "computing_in", lambda precision, device: contextlib.nullcontext())
        patch.setattr(transducer_loss, "checkpoint", lambda function, *args, use_reentrant: function(*args))
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield THERE
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(is_overwriting)


def on_both(compute_on: Callable[[torch.device], Any]) -> tuple[Any, Any]:
    here = compute_on(torch.device("cpu"))
    with other_device() as device:
        return here, compute_on(device)


def noise(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.uniform(-0.3, 0.3, n).astype(np.float32) for n in lengths]


def speech() -> np.ndarray:
    """Two seconds with something like syllables."""
    seconds = np.arange(32000) / 16000
    tone = 0.2 * np.sin(2 * np.pi * 220 * seconds) * (np.sin(2 * np.pi * 1.5 * seconds) > 0)
    return (tone + np.random.default_rng(3).normal(0, 0.01, len(seconds))).astype(np.float32)


def test_the_device_refuses_what_a_gpu_refuses() -> None:
    with other_device() as device:
        there = torch.arange(3.0, device=device)
        assert there.device == device and (there * 2)[1:].tolist() == [2.0, 4.0]
        assert float(there.sum()) == 3.0 and there.cpu().numpy().tolist() == [0.0, 1.0, 2.0]
        with pytest.raises(RuntimeError, match="the same device"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(there)


WORDS = "two tokens of the model"
DECODED = [
    ("paraformer", {}),
    ("paraformer_ctc", {"ctc_weight": 0.3, "beam_size": 2}),
    ("paraformer_ctc", {"timestamp": True}),
    ("bicif_paraformer", {}),
    ("seaco_paraformer", {"hotword": WORDS}),
    ("contextual_paraformer", {"hotword": WORDS}),
    ("conformer", {"decoding_mode": "ctc_greedy"}),
    ("conformer", {"decoding_mode": "ctc_prefix", "beam_size": 2}),
    ("conformer", {"beam_size": 2, "timestamp": True}),
    ("conformer", {"beam_size": 2, "hotword": WORDS}),
    ("conformer", {"beam_size": 2, "lm_weight": 0.3}),
    ("transformer", {"beam_size": 2}),
    *(("rnnt", {"beam_size": 2, "search_type": kind}) for kind in ("default", "tsd", "alsd", "maes")),
    ("rnnt", {"beam_size": 2, "hotword": WORDS}),
    ("rnnt", {"beam_size": 1, "decoding_mode": "simu_chunk"}),
    ("sensevoice_small", {}),
    ("uniasr", {"beam_size": 2}),
    ("paraformer_online", {}),
    ("paraformer_online", {"beam_size": 2, "nbest": 2}),
]


@pytest.mark.parametrize(("case", "options"), DECODED)
def test_whole_utterances_are_recognized_there(case: str, options: dict[str, Any]) -> None:
    folder, waves = open_model_folder(PARITY / case), noise(9000, 10, 12000, 700)
    if "hotword" in options:
        options = {**options, "hotword": " ".join(folder.tokens[5:7])}

    def decode(device: torch.device) -> Any:
        tile = Tile(48) if device == THERE else None
        return load_recognizer(folder, options=DecodeOptions(**options), device=device, tile=tile).transcribe(waves)

    here, there = on_both(decode)
    assert [(h.tokens, h.text, h.timestamp_ms) for h in there] == [(h.tokens, h.text, h.timestamp_ms) for h in here]
    assert [h.score for h in there] == pytest.approx([h.score for h in here], abs=1e-3)


@pytest.mark.parametrize("case", ["paraformer_online", "rnnt"])
def test_streams_are_recognized_there(case: str) -> None:
    def stream(device: torch.device) -> list[Any]:
        recognizer = load_streaming_recognizer(open_model_folder(PARITY / case), device=device)
        pieces, caches = (speech(), speech()[:25000]), ({}, {})
        found = []
        for at in range(0, 32000, 9600):
            steps = [(x[at : at + 9600], c, at + 9600 >= len(x)) for x, c in zip(pieces, caches) if at < len(x)]
            found.append([update.tokens for update in recognizer.feed_many(steps)])
        return found

    here, there = on_both(stream)
    assert there == here


OTHERS: dict[str, Callable[[ModelFolder, torch.device], Any]] = {
    "campplus": lambda folder, device: load_speaker_model(folder, device=device).embed(speech()).tolist(),
    "eres2netv2": lambda folder, device: load_speaker_model(folder, device=device).embed(speech()).tolist(),
    "xvector": lambda folder, device: load_speaker_model(folder, device=device).embed(speech()).tolist(),
    "fsmn_vad": lambda folder, device: load_detector(folder, device=device).segments(speech()),
    "punc_ct_transformer": lambda folder, device: (
        load_punctuator(folder, device=device).punctuate("跨境河流 hello").text
    ),
    "punc_vad_realtime": lambda folder, device: load_punctuator(folder, device=device).punctuate("跨境河流 hello").text,
    "bicif_paraformer": lambda folder, device: align(folder, device),
    "paraformer_ctc": lambda folder, device: align(folder, device),
}


def align(folder: ModelFolder, device: torch.device) -> Any:
    texts = "".join(folder.tokens[5:9]), "".join(folder.tokens[6:8])
    return [found.times_ms for found in load_aligner(folder, device=device).align([speech(), speech()[:20000]], texts)]


@pytest.mark.parametrize("case", OTHERS)
def test_other_tasks_are_done_there(case: str) -> None:
    here, there = on_both(lambda device: OTHERS[case](open_model_folder(PARITY / case), device))
    assert here
    assert there == (pytest.approx(here, abs=1e-4) if isinstance(here[0], float) else here)


TRAINED = ["paraformer", "paraformer_ctc", "bicif_paraformer", "contextual_paraformer", "seaco_paraformer", "conformer",
           "transformer", "rnnt", "uniasr", "paraformer_online", "sensevoice_small", "fsmn_vad", "punc_ct_transformer",
           "punc_vad_realtime", "lm_transformer", "lm_rnn"]  # fmt: skip


@pytest.mark.parametrize("case", TRAINED)
def test_losses_are_computed_there(case: str) -> None:
    folder = open_model_folder(PARITY / case)
    batch = batch_for(folder)

    def loss(device: torch.device) -> dict[str, float]:
        model = without_dropout(build_model(folder.config, len(folder.tokens)))
        load_weights(model, folder.weights)
        model.model_conf = folder.config.get("model_conf") or {}
        output = compute_loss(
            folder.family, model.train().to(device), batch.to(device), torch.Generator().manual_seed(2)
        )
        assert output.loss.device == device
        return output.stats

    here, there = on_both(loss)
    assert there == pytest.approx(here, rel=1e-4)


def batch_for(folder: ModelFolder) -> Batch:
    """Three examples of what a model is trained on."""
    generator, kind = torch.Generator().manual_seed(1), folder.row.trained_on
    examples = []
    for frames, count in ((60, 5), (47, 4), (33, 3)):
        text = torch.randint(3, max(4, len(folder.tokens) - 1), (count,), generator=generator).tolist()
        if kind in (TEXTS, MARKED_TEXTS):
            feats = torch.zeros(0, 0)
        else:
            feats = torch.randn(frames, input_size(folder.config), generator=generator)
        labels = [1, 2, 3, 4] if folder.row.has_rich_labels else [1] * count if kind == MARKED_TEXTS else []
        examples.append(Example(str(count), feats, [1] * frames if kind == SEGMENTS else text, [], labels))
    return collate(examples)


def without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        for name in ("p", "dropout", "dropout_rate"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model
