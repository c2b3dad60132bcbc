"""Loading, refusing, writing weights."""

import os
import pickle

import pytest
import torch
from torch import nn

from funrecipe.checkpoint import fingerprint, fit_state_dict, load_state_dict, load_weights, save_checkpoint
from funrecipe.errors import DataError, UnsafeFileError, WriteError


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_saved_weights_come_back(model, tmp_path):
    save_checkpoint(model.state_dict(), tmp_path / "model.pb")
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    load_weights(other, tmp_path / "model.pb")
    assert fingerprint(other.state_dict()) == fingerprint(model.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == ["model.pb"]


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_state_dicts(model, tmp_path, wrapper):
    torch.save({wrapper: model.state_dict(), "epoch": 3}, tmp_path / "model.pt")
    assert load_state_dict(tmp_path / "model.pt").keys() == model.state_dict().keys()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_on_disk_becomes_float32(model, tmp_path, half):
    state = {k: v.to(half) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    torch.save(state, tmp_path / "model.pb")
    load_weights(model, tmp_path / "model.pb")
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(model[0].weight, state["0.weight"].float())


def test_a_model_without_memory_gets_the_weights_without_a_copy(model, tmp_path):
    torch.save(
        {k: v.half() for k, v in model.state_dict().items() if v.is_floating_point()}
        | {"1.num_batches_tracked": torch.tensor(7)},
        tmp_path / "model.pb",
    )
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    load_weights(empty, tmp_path / "model.pb")
    assert empty[0].weight.dtype == torch.float32 and isinstance(empty[0].weight, nn.Parameter)
    assert torch.equal(empty[0].weight, model[0].weight.half().float())
    assert empty[1].num_batches_tracked == 7


def test_a_checkpoint_of_the_old_format_is_read(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "model.pb", _use_new_zipfile_serialization=False)
    assert fingerprint(load_state_dict(tmp_path / "model.pb", mapped=True)) == fingerprint(model.state_dict())


def test_everything_that_does_not_fit_is_listed(model):
    state = dict(model.state_dict())
    del state["0.bias"]
    state["extra"] = torch.zeros(2)
    state["1.weight"] = torch.zeros(5)
    before = fingerprint(model.state_dict())
    with pytest.raises(DataError) as caught:
        fit_state_dict(model, state, where="model.pb")
    message = str(caught.value)
    assert "missing: 0.bias (4,)" in message
    assert "unexpected: extra (2,)" in message
    assert "another shape: 1.weight (5,), the configuration wants (4,)" in message
    assert fingerprint(model.state_dict()) == before


class Runs:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write({"weight": torch.zeros(1), "trap": Runs()}, tmp_path / "model.pb")
    with pytest.raises(UnsafeFileError) as caught:
        load_state_dict(tmp_path / "model.pb")
    assert caught.value.exit_code == 6
    assert "model.pb" in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off", b"version https://git-lfs"])
def test_files_that_are_no_checkpoints(tmp_path, content):
    (tmp_path / "model.pb").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.pb") as caught:
        load_state_dict(tmp_path / "model.pb")
    assert "weights_only" not in str(caught.value)  # torch's advice: load it unsafely


def test_a_checkpoint_that_was_cut_off(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "model.pb")
    whole = (tmp_path / "model.pb").read_bytes()
    (tmp_path / "model.pb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError):
        load_state_dict(tmp_path / "model.pb")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, torch.zeros(3)])
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "model.pb")
    with pytest.raises(DataError, match="state dict"):
        load_state_dict(tmp_path / "model.pb")


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match="no such"):
        load_state_dict(tmp_path / "model.pb")


def test_a_failed_write_leaves_the_old_file(model, tmp_path):
    save_checkpoint(model.state_dict(), tmp_path / "model.pb")
    before = (tmp_path / "model.pb").read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_checkpoint({"bad": lambda: None}, tmp_path / "model.pb")
    assert (tmp_path / "model.pb").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.pb"]


FULL = OSError(28, "No space left on device")
FOLLOWS_FULL = RuntimeError("unexpected pos 384 vs 300")  # torch's archive writer closes what could not be written
FOLLOWS_FULL.__context__ = FULL


@pytest.mark.parametrize("error", [FULL, FOLLOWS_FULL, RuntimeError("file write failed\nat x.cc")])
def test_a_full_disk_is_said_with_the_file_and_leaves_the_old_one(model, tmp_path, monkeypatch, error):
    save_checkpoint(model.state_dict(), tmp_path / "model.pb")
    before = (tmp_path / "model.pb").read_bytes()

    def full(content, file):
        file.write(b"PK")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        WriteError, match=r"(?s)cannot write model\.pb: (No space|file write failed).*room on that disk"
    ):
        save_checkpoint(model.state_dict(), tmp_path / "model.pb")
    assert (tmp_path / "model.pb").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.pb"]


def test_fingerprint_sees_values_names_and_types_but_not_order(model):
    state = dict(model.state_dict())
    assert fingerprint(dict(reversed(state.items()))) == fingerprint(state)
    assert fingerprint(state | {"0.bias": state["0.bias"] + 1e-6}) != fingerprint(state)
    assert fingerprint(state | {"0.bias": state["0.bias"].double()}) != fingerprint(state)
