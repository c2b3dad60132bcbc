"""Layers of torch models that onnxruntime multiplies."""

import multiprocessing
import threading

import pytest
import torch
from torch import nn

from funrecipe.models import kernels, onnx_products, packed
from funrecipe.models.layers import FeedForward
from funrecipe.models.onnx_products import OnnxRuntimeLinear, OnnxRuntimeProduct

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(not onnx_products.can_use_onnxruntime(), reason="onnxruntime is not installed"),
]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def layer(inputs, outputs, bias=True):
    torch.manual_seed(inputs)
    return nn.Linear(inputs, outputs, bias).requires_grad_(False)


@pytest.mark.parametrize(("inputs", "outputs", "bias"), [(512, 2048, True), (2048, 512, False), (33, 17, True)])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_a_layer_is_the_plain_one(inputs, outputs, bias, activation):
    linear = layer(inputs, outputs, bias)
    x = torch.randn(3, 28, inputs)
    wanted = linear.double()(x.double())
    linear.float()
    wanted = wanted.relu() if activation == "relu" else wanted
    found = OnnxRuntimeLinear(linear, activation)(x)
    assert found.dtype is torch.float32 and found.shape == wanted.shape
    assert torch.allclose(found.double(), wanted, atol=2e-6)
    assert (OnnxRuntimeLinear(linear, activation)(x.transpose(0, 1)) == found.transpose(0, 1)).all()


@pytest.mark.parametrize("shape", [(512, 640), (80, 17), (1100, 64)])
def test_a_row_gives_the_same_in_any_batch(shape):
    module, x = OnnxRuntimeLinear(layer(*shape)), torch.randn(500, shape[0])
    together = module(x)
    for rows in (*range(1, 40), 63, 64, 65, 127, 128, 129, 240, 367, 499):
        assert torch.equal(module(x[:rows]), together[:rows]), rows
        assert torch.equal(module(x[-rows:]), together[-rows:]), rows
    assert torch.equal(module(x.view(5, 100, -1)), together.view(5, 100, -1))
    assert module(x[:0]).shape == (0, shape[1])


@pytest.mark.parametrize("has_offsets", [False, True])
def test_int8_has_the_bits_of_torch(has_offsets):
    """Codes so small that no CPU saturates."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-30, 31, (256, 512), generator=generator, dtype=torch.int8)
    scales = torch.rand(256, generator=generator, dtype=torch.float64) / 100
    offsets = torch.randint(-20, 21, (256,), generator=generator).double() * has_offsets
    x = torch.randint(0, 256, (70, 512), generator=generator, dtype=torch.uint8)
    wanted = (x.double() @ (codes.double() - offsets[:, None]).t()) * scales
    found = OnnxRuntimeProduct(codes, scales, offsets)(x)
    assert torch.allclose(found.double(), wanted, rtol=1e-6, atol=1e-5)
    if "int8" in packed.cpu_precisions():
        assert torch.equal(found, packed.FbgemmProduct(codes, scales, offsets)(x))


@pytest.mark.parametrize("x", [torch.zeros(4, 32), torch.zeros(4, 64, dtype=torch.float64)])
def test_other_inputs_are_refused(x):
    with pytest.raises(ValueError, match="is not torch.float32 of 64"):
        OnnxRuntimeLinear(layer(64, 32))(x)


def test_weights_that_were_packed_are_not_kept():
    linear = layer(64, 32)
    module, x = OnnxRuntimeLinear(linear), torch.randn(5, 64)
    wanted = module(x)
    kept = "weight" in module._product._weights
    linear.weight.zero_()
    assert torch.equal(module(x), wanted) != kept


def test_threads_share_a_layer():
    module, inputs, found = OnnxRuntimeLinear(layer(256, 512)), torch.randn(8, 50, 256), {}
    wanted = module(inputs)

    def work(number):
        found[number] = all(torch.equal(module(inputs[number]), wanted[number]) for _ in range(50))

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(8), True)


def test_a_forked_process_shares_a_layer():
    module, x = OnnxRuntimeLinear(layer(256, 512)), torch.randn(50, 256)
    wanted = module(x)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(torch.equal(module(x), wanted)))
    child.start()
    assert results.get(timeout=60)
    child.join()


@pytest.mark.parametrize(
    ("threads", "is_usable", "kind"),
    [(1, True, OnnxRuntimeLinear), (1, False, packed.PackedLinear), (2, True, packed.PackedLinear)],
)
def test_it_is_used_where_it_is_installed_and_torch_has_one_thread(threads, is_usable, kind, monkeypatch):
    monkeypatch.setattr(packed, "can_use_onnxruntime", lambda: is_usable)
    monkeypatch.setattr(packed, "fastest", lambda what, inputs, outputs, ways: next(iter(ways)))
    torch.set_num_threads(threads)
    model = nn.Sequential(layer(512, 512), layer(64, 64), FeedForward(256, 1024, 0.1)).eval().requires_grad_(False)
    packed.pack_linears(model)
    assert [type(model[0]), type(model[1]), type(model[2].w_1)] == [kind, packed.PackedLinear, kind]


def test_another_version_is_timed_again(monkeypatch):
    before = kernels._machine()
    monkeypatch.setattr(kernels, "version", lambda name: "99")
    assert kernels._machine.__wrapped__() != before


def test_a_version_that_has_another_name_is_no_error():
    assert [kernels._version("xml"), kernels._version("no_such_package_of_funrecipe")] == ["True", "False"]


def test_an_onnxruntime_that_does_not_work_is_not_used(monkeypatch):
    def fails(*_):
        raise AttributeError("no such method")

    monkeypatch.setattr(onnx_products, "_packs_fp32", fails)
    assert not onnx_products.can_use_onnxruntime.__wrapped__()
