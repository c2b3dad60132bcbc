"""Training: losses of every family, WarmupLR, averaging, label smoothing, accuracy."""

from __future__ import annotations

import torch
from tools.parity.case import Case

from funrecipe.train.averaging import average_state_dicts
from funrecipe.train.losses import IGNORE_ID, label_smoothing_loss, token_accuracy
from funrecipe.train.schedulers import warmup_lr


def check_training_utils(case: Case) -> None:
    conf = case.yaml("config.yaml")
    steps = case.inputs["steps"].tolist()
    for i, setting in enumerate(conf["warmuplr"]):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=setting["lr"])
        schedule = warmup_lr(optimizer, setting["warmup_steps"]).lr_lambdas[0]
        case.compare(f"warmuplr{i}.lr_x1e6", torch.tensor([1e6 * setting["lr"] * schedule(s - 1) for s in steps]), 1e-6, relative=True)

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


CASES = {"training_utils": check_training_utils}
