"""The faster layers of training on a CPU give what torch's own give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from funrecipe.train import cpu_layers
from funrecipe.train.cpu_layers import CpuDropout, CpuLinear, CpuLSTM, use_cpu_layers


def outputs_and_gradients(layer: nn.Module, x: Tensor, wanted: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    (y * wanted).sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 7, 40), (11, 40)])
def test_linear_and_its_gradients_are_torchs(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], bias: bool
) -> None:
    torch.manual_seed(0)
    layer, x, wanted = nn.Linear(40, 24, bias=bias), torch.randn(shape), torch.randn(*shape[:-1], 24)
    expected = outputs_and_gradients(layer, x, wanted)
    use_cpu_layers(layer)
    assert type(layer) is CpuLinear
    calls = []
    monkeypatch.setattr(cpu_layers, "LEAST_WORK", 0)
    monkeypatch.setattr(cpu_layers, "product", lambda *a, f=cpu_layers.product: calls.append(1) or f(*a))
    for ours, theirs in zip(outputs_and_gradients(layer, x, wanted), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert len(calls) == 3


def test_transposed_input_and_frozen_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_layers, "LEAST_WORK", 0)
    layer = nn.Linear(40, 24)
    layer.weight.requires_grad_(False)
    x = torch.randn(40, 5, 3).permute(2, 1, 0).requires_grad_()
    expected = torch.autograd.grad(layer(x).square().sum(), x)[0]
    ours = torch.autograd.grad(use_cpu_layers(layer)(x).square().sum(), x)[0]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_autocast_still_decides_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_layers, "LEAST_WORK", 0)
    layer = use_cpu_layers(nn.Linear(8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(2, 8)).dtype is torch.bfloat16


@pytest.mark.parametrize("bidirectional", [False, True])
def test_autocast_leaves_an_lstm_in_fp32(bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(8, 8, batch_first=True, bidirectional=bidirectional)
    x, wanted = torch.randn(2, 5, 8), torch.randn(2, 5, 16 if bidirectional else 8)
    hidden = (torch.randn(2 if bidirectional else 1, 2, 8),) * 2
    expected, states = layer(x, hidden)
    (expected * wanted).sum().backward()
    gradients = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    assert type(use_cpu_layers(layer)) is CpuLSTM
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, after = layer(x, hidden)
        packed, _ = layer(pack_padded_sequence(x, torch.tensor([5, 5]), batch_first=True))
        assert layer(x.bfloat16())[0].dtype is torch.float32
    (output * wanted).sum().backward()
    torch.testing.assert_close(
        [output, *after, *(p.grad for p in layer.parameters())], [expected, *states, *gradients], rtol=1e-5, atol=1e-5
    )
    assert packed.data.dtype is torch.float32


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_mean_and_drops_the_share(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(300, 1001, dtype=dtype, requires_grad=True)
    y = CpuDropout(p)(x)
    y.float().sum().backward()
    assert y.dtype is dtype
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.003)
    assert y.float().mean().item() == pytest.approx(1.0, abs=0.01)
    assert torch.equal(x.grad, y)  # the same mask, the same scale
    neighbors = ((y[:, 1:] == 0) & (y[:, :-1] == 0)).float().mean().item()
    assert neighbors == pytest.approx(p * p, abs=0.004)  # four elements of one number are independent


def test_dropout_follows_the_seed_and_does_nothing_when_it_should() -> None:
    x, layer = torch.randn(64, 33), CpuDropout(0.3)
    first = [torch.manual_seed(5), layer(x)][1]
    assert torch.equal([torch.manual_seed(5), layer(x)][1], first)
    assert not torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(CpuDropout(0.0)(x), x)
    assert torch.equal(CpuDropout(1.0)(x), torch.zeros_like(x))


def test_names_and_other_classes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    class Special(nn.Linear):
        pass

    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": Special(2, 2), "c": nn.Sequential(nn.Dropout(0.1))})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    use_cpu_layers(model)
    assert [type(m) for m in (model["a"], model["b"], model["c"][0])] == [CpuLinear, Special, CpuDropout]
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
