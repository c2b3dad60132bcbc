"""Write tests/data/train/{punctuation,vad}_losses.npz: losses and gradients of FunASR 0.8.8 for the golden models.

usage: python tools/oracle/vad_and_punctuation_losses.py, in an environment of its own with torch, numpy and PyYAML and
``pip install funasr==0.8.8``.

Punctuation: ``PunctuationModel.forward`` in training mode (dropout is 0 in these models), of the golden cases' word ids
with random marks. VAD: FunASR has no loss for it, in 0.8.8 or 1.4.16 (``E2EVadModel.forward`` returns segments);
torch's binary cross-entropy is taken of P(speech) = 1 - sum of ``sil_pdf_ids``, which ``E2EVadModel.GetFrameState``
decides by, from FunASR's ``FSMN`` in float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from funasr.models.encoder.fsmn_encoder import FSMN
from funasr.models.target_delay_transformer import TargetDelayTransformer
from funasr.models.vad_realtime_transformer import VadRealtimeTransformer
from funasr.train.abs_model import PunctuationModel

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"
WEIGHTS = (1.0, 0.5, 2.0, 3.0, 4.0, 1.5)  # one per mark
FULL = {"decoder.weight", "encoder.encoders.0.self_attn.fsmn_block.weight"}  # gradients stored in full


def case(name: str, stem: str) -> tuple[dict[str, Any], dict[str, torch.Tensor], Any]:
    folder = DATA / "parity" / name
    config = yaml.safe_load((folder / f"{stem}.yaml").read_text("utf-8"))
    return config, torch.load(folder / f"{stem}.pb", weights_only=True), np.load(folder / "io.npz")


def gradients(model: torch.nn.Module, full: set[str]) -> dict[str, np.ndarray]:
    named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    kept = {f"grad.{name}": g.float().numpy() for name, g in named.items() if name.removeprefix("punc_model.") in full}
    return {**kept, "grad_norms": np.array([float(named[name].norm()) for name in sorted(named)], np.float32)}


def punctuation_losses() -> dict[str, np.ndarray]:
    stored: dict[str, np.ndarray] = {}
    for name, network in (
        ("punc_ct_transformer", TargetDelayTransformer),
        ("punc_vad_realtime", VadRealtimeTransformer),
    ):
        config, state, arrays = case(name, "punc")
        ids, lens = torch.from_numpy(arrays["in.ids"]).clamp(min=0), torch.from_numpy(arrays["in.ids_lens"])
        marks = torch.randint(0, 6, ids.shape, generator=torch.Generator().manual_seed(5))  # 0, <unk>, is ignored
        marks[torch.arange(ids.size(1)) >= lens[:, None]] = 0
        known = torch.tensor([[5], [12], [-1]])
        stored |= {
            f"{name}.ids": ids.numpy(),
            "lens": lens.numpy(),
            "marks": marks.numpy(),
            "known": known[:, 0].numpy(),
        }
        size = {"vocab_size": len(config["token_list"]), "punc_size": len(config["punc_list"])}
        for variant, weights in (("equal", [1.0] * 6), ("weighted", WEIGHTS)):
            model = PunctuationModel(network(**size, **config["punctuation_conf"]), size["vocab_size"],
                                     punc_weight=list(weights), **config["model_conf"])  # fmt: skip
            model.load_state_dict(state)
            for vad in (None, known) if network is VadRealtimeTransformer else (None,):
                given = torch.full_like(known, -1) if vad is None else vad
                loss, _, weight = model.train()(ids, marks, lens, lens, vad_indexes=given)
                model.zero_grad()
                loss.backward()
                prefix = f"{name}.{variant}{'' if vad is None else '_known'}"
                found = {"loss": loss.detach().numpy(), "weight": weight.numpy(), **gradients(model, FULL)}
                stored |= {f"{prefix}.{key}": value for key, value in found.items()}
    return stored


def vad_losses() -> dict[str, np.ndarray]:
    config, state, arrays = case("fsmn_vad", "vad")
    feats = torch.from_numpy(arrays["in.feats"])[0]
    lens = torch.tensor([90, 40])
    together = torch.nn.utils.rnn.pad_sequence([feats[:90], feats[90:]], batch_first=True)
    labels = (torch.arange(90) // 13 % 2)[None].repeat(2, 1)
    stored = {"lens": lens.numpy(), "labels": labels.numpy()}
    for variant, silence in (("one_class", [0]), ("three_classes", [0, 4, 7])):
        encoder = FSMN(**config["encoder_conf"])
        encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in state.items()})
        encoder.double()
        total, right = torch.zeros((), dtype=torch.float64), 0
        for i, length in enumerate(lens.tolist()):
            posteriors = encoder(together[i : i + 1, :length].double(), {})[0]
            speech = 1 - posteriors[:, silence].sum(dim=1)
            wanted = labels[i, :length].double()
            total = total + torch.nn.functional.binary_cross_entropy(speech, wanted, reduction="sum")
            right += int(((speech >= 0.5) == wanted.bool()).sum())
        loss = total / lens.sum()
        loss.backward()
        found = {"loss": np.float32(loss.detach()), "acc": np.float32(right / int(lens.sum()))}
        found |= gradients(encoder, {"out_linear2.linear.weight", "fsmn.0.fsmn_block.conv_left.weight"})
        stored |= {f"{variant}.{key}": value for key, value in found.items()}
    return stored


if __name__ == "__main__":
    np.savez_compressed(DATA / "train" / "punctuation_losses.npz", **punctuation_losses())
    np.savez_compressed(DATA / "train" / "vad_losses.npz", **vad_losses())
