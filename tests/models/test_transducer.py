"""RNN transducer: the loss against a sum over all paths, streaming against masks, padding never changes a result."""

import itertools
import math

import pytest
import torch

from funrecipe.models.chunk_conformer import ChunkConformerEncoder
from funrecipe.models.transducer import JointNetwork, PredictionNetwork
from funrecipe.models.transducer_loss import (
    LatticeLoss,
    arc_log_probs,
    loss_by_kernel,
    torchaudio_loss,
    transducer_loss,
)

SMALL = {
    "output_size": 8,
    "attention_heads": 2,
    "linear_units": 12,
    "num_blocks": 2,
    "dropout_rate": 0.0,
    "cnn_module_kernel": 5,
    "positional_dropout_rate": 0.0,
}


def sum_over_paths(blank, emit):
    """-log of the sum over every order of T blanks and U labels that ends in a blank."""
    frames, labels = blank.shape[0], emit.shape[1]
    total = 0.0
    for places in itertools.combinations(range(frames + labels - 1), labels):
        t = u = 0
        score = 0.0
        for place in range(frames + labels - 1):
            if place in places:
                score, u = score + float(emit[t, u]), u + 1
            else:
                score, t = score + float(blank[t, u]), t + 1
        total += math.exp(score + float(blank[t, u]))
    return -math.log(total)


@pytest.fixture
def lattice():
    torch.manual_seed(2)
    joint = JointNetwork(7, 5, 4, joint_space_size=6)
    encoder_out, prediction = torch.randn(3, 5, 5, requires_grad=True), torch.randn(3, 4, 4, requires_grad=True)
    labels = torch.tensor([[3, 3, 5], [6, 1, -1], [-1, -1, -1]])
    return joint, encoder_out, torch.tensor([5, 3, 4]), prediction, labels, torch.tensor([3, 2, 0])


def test_loss_is_the_sum_over_all_paths(lattice):
    joint, encoder_out, frames, prediction, labels, counts = lattice
    losses = transducer_loss(*lattice)
    for row in range(3):
        t, u = int(frames[row]), int(counts[row])
        with torch.no_grad():
            arcs = arc_log_probs(joint, encoder_out[row, :t], prediction[row, : u + 1], labels[row, :u])
        assert losses[row].item() == pytest.approx(sum_over_paths(*arcs), rel=1e-5)


def test_loss_gradient_is_that_of_finite_differences():
    torch.manual_seed(2)
    joint = JointNetwork(4, 3, 3, joint_space_size=4).double()
    labels, counts, frames = torch.tensor([[3, 1], [2, -1]]), torch.tensor([2, 1]), torch.tensor([3, 2])
    inputs = (
        torch.randn(2, 3, 3, dtype=torch.double, requires_grad=True),
        torch.randn(2, 3, 3, dtype=torch.double, requires_grad=True),
    )
    assert torch.autograd.gradcheck(lambda e, p: transducer_loss(joint, e, frames, p, labels, counts), inputs)


def test_fastemit_adds_its_share_to_the_gradient_of_emissions_only():
    torch.manual_seed(4)
    blank, emit = torch.randn(4, 3).double().requires_grad_(), torch.randn(4, 2).double().requires_grad_()
    plain = torch.autograd.grad(LatticeLoss.apply(blank, emit, 0.0), (blank, emit))
    fast = torch.autograd.grad(LatticeLoss.apply(blank, emit, 0.25), (blank, emit))
    torch.testing.assert_close(fast[0], plain[0])
    torch.testing.assert_close(fast[1], 1.25 * plain[1])


@pytest.mark.parametrize("factor", [1, 2, 4, 6])
@pytest.mark.parametrize("unified", [True, False])
def test_encoder_batch_equals_alone(factor, unified):
    torch.manual_seed(0)
    conf = {"subsampling_factor": factor, "time_reduction_factor": 2, "default_chunk_size": 3, "left_chunk_size": 1}
    encoder = ChunkConformerEncoder(16, **SMALL, **conf, unified_model_training=unified).eval()
    lens = torch.tensor([41, 22, 3])
    feats = torch.randn(3, 41, 16)
    for forward in (encoder.forward, encoder.forward_chunked):
        batch, batch_lens = forward(feats, lens)
        for row, frames in enumerate(lens.tolist()):
            alone, alone_lens = forward(feats[row : row + 1, :frames], lens[row : row + 1])
            assert batch_lens[row] == alone_lens[0] == alone.size(1)
            torch.testing.assert_close(batch[row, : alone.size(1)], alone[0], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_chunks_with_caches_equal_chunk_masks():
    torch.manual_seed(0)
    conf = {"subsampling_factor": 4, "default_chunk_size": 3, "left_chunk_size": 2, "unified_model_training": True}
    encoder = ChunkConformerEncoder(16, **SMALL, **conf).eval()
    feats = torch.randn(1, 5 * 12, 16)
    masked, _ = encoder.forward_chunked(feats, torch.tensor([60]))
    cache = encoder.start(left_context=2 * 3)
    steps = [encoder.step(chunk, cache) for chunk in feats.split(12, dim=1)]
    torch.testing.assert_close(torch.cat(steps, dim=1), masked, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_prediction_network_steps_equal_the_whole_sequence():
    torch.manual_seed(0)
    for kind in ("lstm", "gru"):
        network = PredictionNetwork(9, embed_size=4, hidden_size=5, rnn_type=kind, num_layers=2).eval()
        labels = torch.randint(0, 9, (2, 6))
        whole, _ = network(labels)
        state = network.start(2, labels.device)
        for position in range(6):
            out, state = network(labels[:, position : position + 1], state)
            torch.testing.assert_close(out[:, 0], whole[:, position], atol=1e-6, rtol=0)


def test_the_kernel_of_torchaudio_gives_the_same_loss_and_gradients():
    kernel = torchaudio_loss()
    if kernel is None:
        pytest.skip("torchaudio cannot be imported here")
    torch.manual_seed(4)
    joint = JointNetwork(7, 6, 5, 8)
    encoder_out, prediction = torch.randn(9, 6, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    labels = torch.tensor([3, 1, 6])
    found = []
    for loss in (
        transducer_loss(joint, encoder_out[None], torch.tensor([9]), prediction[None], labels[None], torch.tensor([3]))[
            0
        ],
        loss_by_kernel(kernel, joint, encoder_out, prediction, labels),
    ):
        found.append((loss.detach(), *torch.autograd.grad(loss, [encoder_out, prediction, *joint.parameters()])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
