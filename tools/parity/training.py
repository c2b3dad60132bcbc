"""Training: losses of every family, WarmupLR, averaging, label smoothing, accuracy."""

from __future__ import annotations

import re

import torch
from torch import nn

from funrecipe.checkpoint import load_weights
from funrecipe.model_folder import ModelFolder, open_model_folder
from funrecipe.models.registry import build_model
from funrecipe.models.sanm import SANMEncoder
from funrecipe.train.averaging import average_state_dicts
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.compute import compute_loss
from funrecipe.train.objectives.losses import IGNORE_ID, label_smoothing_loss, token_accuracy
from funrecipe.train.schedulers import warmup_lr
from tools.parity.case import Case


def check_training_utils(case: Case) -> None:
    conf = case.yaml("config.yaml")
    steps = case.inputs["steps"].tolist()
    for i, setting in enumerate(conf["warmuplr"]):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=setting["lr"])
        schedule = warmup_lr(optimizer, setting["warmup_steps"]).lr_lambdas[0]
        case.compare(
            f"warmuplr{i}.lr_x1e6",
            torch.tensor([1e6 * setting["lr"] * schedule(s - 1) for s in steps]),
            1e-6,
            relative=True,
        )

    ranked = [case.path / f"{epoch}epoch.pb" for epoch in (2, 3, 1)]
    for n in conf["averaging"]["nbest"]:
        for key, value in average_state_dicts(ranked[:n]).items():
            case.compare(f"average{n}.{key}", value.reshape(case.expected[f"average{n}.{key}"].shape), 1e-6)

    targets = torch.from_numpy(case.inputs["target"])
    tokens = int(targets.ne(IGNORE_ID).sum())
    for smoothing in conf["lsm"]:
        for name, denominator in (("norm", tokens), ("batch", len(targets))):
            with torch.inference_mode(False), torch.enable_grad():
                logits = torch.from_numpy(case.inputs["logits"]).clone().requires_grad_()
                loss = label_smoothing_loss(logits, targets.clone(), smoothing, denominator)
                loss.backward()
            case.compare(f"lsm{smoothing}.{name}", loss.detach().reshape(1), 1e-4, relative=True)
            case.compare(f"lsm{smoothing}.{name}.grad", logits.grad, 1e-5)
    case.compare("accuracy", torch.tensor([token_accuracy(torch.from_numpy(case.inputs["logits"]), targets)]), 1e-6)


def conf_of_variant(variant: str) -> dict[str, object]:
    """Loss settings that the name of a variant states (``unnorm_sampler04_1stloss_seed7``)."""
    conf: dict[str, object] = {}
    if "norm" in variant.split("_") or "unnorm" in variant.split("_"):
        conf["length_normalized_loss"] = "norm" in variant.split("_")
    if "nosampler" in variant:
        conf["sampling_ratio"] = 0.0
    elif sampler := re.search(r"sampler(\d)(\d*)", variant):
        conf["sampling_ratio"] = float(f"{sampler[1]}.{sampler[2] or 0}")
    if "nosampler" in variant or "sampler" in variant:
        conf["use_1st_decoder_loss"] = "1stloss" in variant
    return conf


def check_losses(case: Case) -> None:
    """``train.<variant>.*``: loss, its parts, weight, gradient norm and some gradients."""
    folder = open_model_folder(case.path)
    variants = sorted(
        {key.split(".")[1] if key.count(".") > 1 else "" for key in case.expected if key.startswith("train.")}
    )
    for variant in variants:
        with torch.inference_mode(False), torch.enable_grad():
            check_variant(case, folder, variant)


def leak_padding(model: nn.Module) -> None:
    """Leave in padded frames what FunASR leaves there (README, fact 2): the vectors of losses were made with that."""
    for module in model.modules():
        if hasattr(module, "pad_invariant"):
            module.pad_invariant = False


def layer_drop_draws(model: nn.Module) -> int:
    """Random numbers that FunASR draws before the sampler: one for every layer of a MultiSequential (layer drop)."""
    encoder, decoder = model.encoder, getattr(model, "decoder", None)
    if decoder is None or not hasattr(model, "predictor"):
        return 0
    stacks = [getattr(encoder, name, ()) for name in ("encoders0", "encoders")]
    if isinstance(encoder, SANMEncoder):  # the aishell decoder is not a MultiSequential
        stacks += [getattr(decoder, name, ()) for name in ("decoders", "decoders2", "decoders3")]
    return sum(len(stack) for stack in stacks)


def check_variant(case: Case, folder: ModelFolder, variant: str) -> None:
    model = build_model(folder.config, len(folder.tokens))
    load_weights(model, folder.weights)
    model.eval()
    model.model_conf = {**model.model_conf, **conf_of_variant(variant)}
    leak_padding(model)
    text, text_lens = (torch.from_numpy(case.inputs[name]).clone() for name in ("text", "text_lens"))
    feats, feat_lens = (torch.from_numpy(case.inputs[name]).clone() for name in ("feats", "feats_lens"))
    batch = Batch([str(i) for i in range(len(text))], feats, feat_lens, text, text_lens)
    seed = re.search(r"seed(\d+)", variant)
    generator = torch.Generator().manual_seed(int(seed[1]) if seed else 0)
    torch.empty(layer_drop_draws(model)).uniform_(generator=generator)
    output = compute_loss(folder.family, model, batch, generator)
    output.loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    prefix = f"train.{variant}." if variant else "train."
    for key in [k for k in case.expected if k.startswith(prefix)]:
        name = key.removeprefix(prefix)
        if name == "grad_norm":
            norm = torch.stack([g.norm() for g in gradients.values()]).norm()
            case.compare(key, norm.reshape(1), 1e-3, relative=True)
        elif name.startswith("grad."):
            theirs = torch.from_numpy(case.expected[key])
            case.compare(key, gradients[name.removeprefix("grad.")], 1e-3 * float(theirs.abs().max()))
        elif name == "weight":
            case.compare(key, torch.tensor([int(output.weight)]))
        elif name in output.extras:
            case.compare(key, output.extras[name].detach(), 1e-4)
        elif name in output.stats:
            case.compare(key, torch.tensor([output.stats[name]]), 1e-4, relative=True)


CASES = {"training_utils": check_training_utils} | {
    name: check_losses
    for name in (
        "paraformer",
        "paraformer_ctc",
        "conformer_paraformer",
        "bicif_paraformer",
        "paraformer_online",
        "conformer",
        "transformer",
        "rnnt",
        "uniasr",
    )
}
