"""Learning rates against the contract's table and against the formulas' landmarks."""

from __future__ import annotations

import pytest
import torch

from funrecipe.errors import UsageError
from funrecipe.train.optimizers import build_optimizer
from funrecipe.train.schedulers import build_scheduler


def optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rate_at(schedule: torch.optim.lr_scheduler.LambdaLR, step: int) -> float:
    return schedule.base_lrs[0] * schedule.lr_lambdas[0](step - 1)


@pytest.mark.parametrize(
    ("step", "rate"), [(1, 1.667e-8), (1000, 1.667e-5), (30000, 5e-4), (60000, 3.5355e-4), (120000, 2.5e-4)]
)
def test_warmup_follows_the_table_of_the_contract(step: int, rate: float) -> None:
    schedule = build_scheduler("WarmupLR", optimizer(5e-4), {"warmup_steps": 30000})
    assert rate_at(schedule, step) == pytest.approx(rate, rel=1e-3)


def test_linear_goes_up_and_down() -> None:
    schedule = build_scheduler("linear", optimizer(2.0), {"warmup_steps": 10, "total_steps": 110, "end_factor": 0.1})
    assert [rate_at(schedule, s) for s in (5, 10, 60, 110, 500)] == pytest.approx([1.0, 2.0, 1.1, 0.2, 0.2])


@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
def test_past_its_end_one_cycle_stays_at_its_last_rate(anneal_strategy: str) -> None:
    conf = {"max_lr": 2.0, "total_steps": 20, "anneal_strategy": anneal_strategy}
    schedule = build_scheduler("onecyclelr", optimizer(), conf)
    rates = []
    for _ in range(40):
        schedule.optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert max(rates) == pytest.approx(2.0, rel=0.2)
    lowest = 2.0 / 25 / 1e4  # torch's div_factor and final_div_factor
    assert rates[18:] == pytest.approx([lowest] * 22) and rates[17] > lowest


def test_none_means_a_constant_rate() -> None:
    assert build_scheduler("none", optimizer(), {}) is None


@pytest.mark.parametrize(
    ("name", "conf", "said"),
    [
        ("warmupl", {}, "warmuplr"),
        ("warmuplr", {"steps": 1}, "warmup_steps"),
        ("noamlr", {"warmup_steps": 0}, "noamlr"),
        ("noamlr", {"model_size": -4}, "noamlr"),
        ("steplr", {"step_size": 0}, "steplr"),
        ("cosineannealinglr", {"T_max": 0}, "cosineannealinglr"),
        ("exponentiallr", {"gamma": -1}, "learning rate becomes -"),
        ("onecyclelr", {"max_lr": 1}, "total_steps"),
    ],
)
def test_unknown_schedules_and_settings_are_refused(name: str, conf: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_scheduler(name, optimizer(), conf)


@pytest.mark.parametrize(
    ("name", "conf", "said"),
    [("adamm", {}, "adam"), ("adam", {"learning_rate": 1}, "lr"), ("adam", {"betas": [0.9]}, "betas")],
)
def test_unknown_optimisers_and_settings_are_refused(name: str, conf: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_optimizer(name, [torch.nn.Parameter(torch.zeros(1))], conf)


def test_nothing_to_train_is_refused() -> None:
    frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    with pytest.raises(UsageError, match="frozen"):
        build_optimizer("adam", [frozen], {"lr": "5e-4"})
