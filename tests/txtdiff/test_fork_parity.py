"""The fork's flags and weights, through our settings and network, against the fork's own outputs."""

from __future__ import annotations

import json
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from datatools.errors import InputError
from txtdiff.fork import network_from_fork

PARITY = Path(__file__).parent / "parity"
NETWORKS = sorted(path.stem for path in PARITY.glob("*_*.safetensors"))


def filled(state: dict[str, tuple[list[int], str]]) -> dict[str, Tensor]:
    """The weights of a parity file: every one follows from its name (parity/README)."""
    weights = {}
    for key, (shape, dtype) in state.items():
        if key.endswith(("freqs", "inv_freq")):
            continue
        n = np.random.RandomState(crc32(key.encode())).standard_normal(shape)
        if len(shape) >= 2:
            n = n / np.sqrt(np.prod(shape[1:]))
        else:
            n = 1 + 0.1 * n if key.endswith(("weight", ".g")) else 0.1 * n
        weights[key] = torch.as_tensor(np.asarray(n)).to(getattr(torch, dtype))
    return weights


def load(name: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(PARITY / f"{name}.safetensors", "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def inputs(tensors: dict[str, Tensor], items: slice) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    conditions = ("txt", "capt", "low_res", "cond_timesteps")
    named = {key: tensors[key][items] for key in conditions if key in tensors}
    return tensors["x"][items], tensors["timesteps"][items], named


@pytest.mark.parametrize("name", NETWORKS)
def test_network_computes_what_the_fork_computed(name: str) -> None:
    facts, tensors = load(name)
    weights = filled(json.loads(facts["state"]))
    network = network_from_fork(facts["flags"].split(), weights, facts["upsampler"] == "True")
    for items in (slice(0, 1), slice(1, 2), slice(None)):
        x, timesteps, conditions = inputs(tensors, items)
        with torch.no_grad():
            output = network(x, timesteps, **conditions)
        assert (output - tensors["output"][items]).abs().max() <= 1e-5


def test_captions_encoded_once_give_the_same_output() -> None:
    facts, tensors = load("base_fused")
    network = network_from_fork(facts["flags"].split(), filled(json.loads(facts["state"])), upsampler=False)
    x, timesteps, conditions = inputs(tensors, slice(None))
    with torch.no_grad():
        conditions["capt"] = network.encode_captions(conditions["capt"])
        assert (network(x, timesteps, **conditions) - tensors["output"]).abs().max() <= 1e-5


def test_weights_that_do_not_fit_are_all_named() -> None:
    facts, _ = load("notxt_torch")
    weights = filled(json.loads(facts["state"]))
    weights["out.3.weight"] = weights.pop("out.2.weight")
    weights["time_embed.0.bias"] = torch.zeros(7)
    with pytest.raises(InputError) as error:
        network_from_fork(facts["flags"].split(), weights, upsampler=False)
    assert "unknown: out.3.weight" in error.value.what
    assert "missing: head.weight" in error.value.what
    assert "of another shape: time_embedding.0.bias (7,)" in error.value.what
