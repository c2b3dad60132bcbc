"""Settings in ``model_conf``: each is used on every branch where FunASR uses it, or refused by name.

The expected losses are those of FunASR 0.8.8's own classes over the models of tests/data/parity. Heads that those
models do not have are filled with a sine, by name.
"""

import json
import math
from pathlib import Path

import pytest
import torch

from funrecipe.checkpoint import load_state_dict
from funrecipe.errors import UsageError
from funrecipe.families import FAMILIES, names_with
from funrecipe.model_folder import open_model_folder
from funrecipe.model_folder.model_settings import ALLOWED, HEADS, WEIGHT, check_heads, check_model_conf
from funrecipe.models.registry import build_model
from funrecipe.ranges import SHARE
from funrecipe.train.data.batching import Batch
from funrecipe.train.objectives.compute import compute_loss
from tools.parity.case import Case
from tools.parity.training import layer_drop_draws, leak_padding

DATA = Path(__file__).parents[1] / "data"
ROWS = json.loads((DATA / "train/loss_branches.json").read_text())


def sine(tensor: torch.Tensor, name: str) -> torch.Tensor:
    steps = torch.arange(tensor.numel(), dtype=torch.float64) * 0.7 + sum(map(ord, name))
    return (steps.sin() * 0.3).reshape(tensor.shape).float()


def loss_of(row):
    """What our objective gives for a row, and the norm of its gradient."""
    case = Case(DATA / "parity" / row["case"], DATA)
    folder = open_model_folder(case.path)
    model_conf = {**folder.config["model_conf"], **row["model_conf"]}
    check_model_conf(folder.family, model_conf, "config.yaml")
    model = build_model({**folder.config, **row["config"], "model_conf": model_conf}, len(folder.tokens)).eval()
    check_heads(model, model_conf)
    stored = load_state_dict(folder.weights)
    model.load_state_dict({name: stored.get(name, sine(t, name)) for name, t in model.state_dict().items()})
    leak_padding(model)
    for weight, encoder in (("ctc_weight", "encoder"), ("ctc_weight2", "encoder2")):
        # Joining overlapping chunks for CTC, FunASR clears the padding behind each utterance for good.
        if hasattr(getattr(model, encoder, None), "encode_chunks") and model_conf.get(weight):
            getattr(model, encoder).pad_invariant = True
    inputs = [torch.from_numpy(case.inputs[name]) for name in ("feats", "feats_lens", "text", "text_lens")]
    batch = Batch([str(i) for i in range(len(inputs[0]))], *inputs)
    generator = torch.Generator().manual_seed(row["seed"] or 0)
    torch.empty(layer_drop_draws(model)).uniform_(generator=generator)
    output = compute_loss(folder.family, model, batch, generator)
    output.loss.backward()
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    return output, float(torch.stack(norms).norm())


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_every_branch_has_the_loss_that_funasr_gives_it(row):
    output, grad_norm = loss_of(row)
    expected = {**row["expected"]}
    assert grad_norm == pytest.approx(expected.pop("grad_norm"), rel=1e-3)
    assert output.weight == expected.pop("weight")
    # Where a pass has no loss of its own, FunASR shows what another pass left.
    shown = {name: value for name, value in expected.items() if name in output.stats}
    assert shown == pytest.approx({name: output.stats[name] for name in shown}, rel=1e-4, abs=1e-6)
    assert {"loss"} < shown.keys() and {name for name in expected if name.startswith("aux_")} <= shown.keys()


def test_in_chunks_ctc_hears_every_frame_once_and_the_first_decoder_counts_in_full():
    """By FunASR's formula for ParaformerOnline; its own last token may be lost to rounding, so parts are compared."""
    conf = {"ctc_weight": 0.3, "sampling_ratio": 0.5, "use_1st_decoder_loss": True}
    output, _ = loss_of({"case": "paraformer_online", "config": {}, "model_conf": conf, "seed": 3})
    parts = output.stats
    assert parts["loss_ctc"] == pytest.approx(98.02116394, rel=1e-4)
    assert parts["loss_pre"] == pytest.approx(0.47025606, rel=1e-4)
    total = 0.3 * parts["loss_ctc"] + 0.7 * parts["loss_att"] + parts["loss_pre"] + parts["pre_loss_att"]
    assert parts["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("family", "conf", "message"),
    [
        ("rnnt_unified", {"auxiliary_lsm_weight": 0.1}, "no setting 'auxiliary_lsm_weight'[^~]*did you mean"),
        ("paraformer", {"transducer_weight": 1.0}, "'paraformer' have no setting 'transducer_weight'"),
        ("bicif_paraformer", {"use_1st_decoder_loss": True}, "use_1st_decoder_loss: True is not supported, only False"),
        ("asr", {"interctc_weight": 0.3}, "interctc_weight: 0.3 is not supported, only 0.0"),
        ("paraformer", {"share_embedding": True}, "share_embedding: True is not supported"),
        ("contextual_paraformer", {"label_bracket": True}, "label_bracket: True is not supported, only False"),
        ("paraformer", {"use_1st_decoder_loss": True, "sampling_ratio": 0.0}, "has no effect without a sampling_ra"),
        ("rnnt", {"sym_sos": "<sos>"}, "sym_sos: '<sos>' is not supported, only '<s>'"),
    ],
)
def test_what_training_would_not_use_is_refused_by_name(family, conf, message):
    with pytest.raises(UsageError, match=message) as refused:
        check_model_conf(family, conf, "model/config.yaml")
    assert refused.value.where == "model/config.yaml"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(
            (name, value)
            for name, allowed in ALLOWED.items()
            if allowed is SHARE
            for value in (-0.1, 1.5, "much", True)
        ),
        *((name, value) for name, allowed in ALLOWED.items() if allowed is WEIGHT for value in (-0.1, math.inf)),
        *[("predictor_bias", 2), ("predictor_bias", 0.5), ("min_hw_length", 0), ("punc_weight", [1.0, -1.0])],
    ],
)
def test_a_value_outside_its_range_is_refused(name, wrong):
    [family, *_] = [family for family in names_with("settings") if name in FAMILIES[family].settings]
    with pytest.raises(UsageError, match=f"model_conf: {name} is "):
        check_model_conf(family, {name: wrong}, "model/config.yaml")


def test_every_setting_of_a_family_has_a_range_or_a_type():
    used = {name for family in names_with("settings") for name in FAMILIES[family].settings}
    assert used == ALLOWED.keys()


@pytest.mark.parametrize("family", names_with("settings"))
def test_what_has_no_effect_in_funasr_either_is_taken(family):
    check_model_conf(family, {"report_cer": True, "sym_space": "<space>", "extract_feats_in_collect_stats": False}, "")


@pytest.mark.parametrize("name", HEADS)
def test_a_weight_of_a_part_that_the_model_lacks_is_refused(name):
    class Bare:
        ctc = ctc2 = ctc_lin = att_decoder = lm_lin = None

    check_heads(Bare(), {name: 0.0})
    with pytest.raises(UsageError, match=f"{name} is 0.3, but this model has no"):
        check_heads(Bare(), {name: 0.3})
