"""A device that is not there is an error before a model is loaded; ``auto`` takes what there is."""

from __future__ import annotations

import pytest
import torch

from funrecipe.decode.device import find_device
from funrecipe.errors import UsageError


@pytest.mark.parametrize("has_gpu", [True, False])
def test_auto_is_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch, has_gpu: bool) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    assert find_device("auto") == ("cuda" if has_gpu else "cpu")
    assert find_device("cpu") == "cpu"


def test_a_gpu_that_torch_does_not_see_is_named_with_what_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES is '7'") as refused:
        find_device("cuda:1", where="plan.json")
    assert refused.value.where == "plan.json" and refused.value.hint == "use the CPU"


def test_a_gpu_computes_fp32_in_fp32_and_attention_without_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", True)
    torch.backends.cuda.enable_cudnn_sdp(True)
    assert find_device("cuda:1") == "cuda:1"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.cudnn_sdp_enabled()
