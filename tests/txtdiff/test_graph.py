"""A recorded pass computes what the pass itself does."""

from __future__ import annotations

import pytest
import torch
from tiny import TINY

from datatools.errors import InputError
from txtdiff.config_files import make_config, settings_layer
from txtdiff.data.batch import collate, conditions_of
from txtdiff.data.pictures import open_pictures
from txtdiff.diffusion.losses import LossTerms
from txtdiff.model.unet import build_network
from txtdiff.training.graph import Recorder
from txtdiff.training.inputs import Inputs, make_inputs
from txtdiff.training.step import picture_losses

CONFIG = make_config(
    {**TINY, "data": {"batch_size": 4, "workers": 0}},
    settings_layer(["data.synth.profile=word", "data.synth.drawn_px=64", "run.compile=graph"]),
)


def inputs_at(first: int, device: torch.device) -> Inputs:
    pictures = open_pictures(None, CONFIG.data, CONFIG.model, 0)
    batch = collate([pictures[i] for i in range(first, first + 4)], conditions_of(CONFIG.model))
    return make_inputs(batch, CONFIG, device)


@pytest.mark.parametrize("setting", ["optim.microbatch=2", "optim.precision=fp16", "model.dropout=0.1"])
def test_what_cannot_be_recorded_is_refused(setting: str) -> None:
    with pytest.raises(InputError, match="goes with neither"):
        make_config(TINY, settings_layer(["run.compile=graph", setting]))


def test_copies_of_inputs_share_no_memory() -> None:
    inputs = inputs_at(0, torch.device("cpu"))
    for own, other in zip(inputs.copy().tensors(), inputs.tensors(), strict=True):
        assert torch.equal(own, other)
        assert own.data_ptr() != other.data_ptr()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replayed_pass_has_the_gradients_of_the_pass_itself() -> None:
    device = torch.device("cuda")
    network = build_network(CONFIG.model).to(device).train()
    weights = list(network.parameters())

    def one_pass(inputs: Inputs) -> LossTerms:
        terms = picture_losses(network, inputs, CONFIG.diffusion)
        terms.loss.sum().backward()  # type: ignore[no-untyped-call]
        return terms

    recorder = Recorder(weights)
    for first in (0, 4, 8):
        inputs = inputs_at(first, device)
        for weight in weights:
            weight.grad = None
        plain = one_pass(inputs).loss.detach().clone()
        expected = [None if weight.grad is None else weight.grad.clone() for weight in weights]
        assert torch.allclose(recorder(inputs, one_pass).loss, plain, rtol=1e-3)
        for weight, gradient in zip(weights, expected, strict=True):
            assert (weight.grad is None) == (gradient is None)
            if gradient is not None:
                assert torch.allclose(weight.grad, gradient, rtol=1e-2, atol=1e-4)
