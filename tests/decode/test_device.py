"""A device that is not there is an error before a model is loaded; ``auto`` takes what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from funrecipe.cli import main
from funrecipe.decode.device import find_device
from funrecipe.errors import UsageError


@pytest.mark.parametrize("has_gpu", [True, False])
def test_auto_is_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch, has_gpu: bool) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
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
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", True)
    torch.backends.cuda.enable_cudnn_sdp(True)
    assert find_device("cuda:1") == "cuda:1"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_a_gpu_of_a_number_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("funrecipe.decode.device.settle_gpu", lambda: None)
    assert [find_device(name) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    with pytest.raises(UsageError, match="torch sees 2 GPUs, numbered from 0, not 'cuda:2'"):
        find_device("cuda:2")


@pytest.mark.parametrize("name", ["tpu", "CPU", "cuda:x", "cuda:-1", "", 0])
def test_a_device_of_another_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"device is {name!r}"):
        find_device(name)


@pytest.mark.parametrize("device", ["cuda:7", "tpu"])
def test_a_list_is_not_embedded_on_a_device_that_is_not_there(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    model = str(Path(__file__).parents[1] / "data/parity/campplus")
    assert main(["embed", "--model", model, "--device", device, str(tmp_path / "wav.scp"), str(tmp_path / "out")]) == 2
    assert ("torch sees no GPU" if "cuda" in device else "device is 'tpu'") in capsys.readouterr().err
