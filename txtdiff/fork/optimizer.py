"""The fork's optN.pt: AdamW's moments, stored by number, given back to the weights they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datatools.errors import InputError, in_words
from txtdiff.model.pickled import read_pickled

__all__ = ["fork_groups", "fork_moments", "read_optimizer"]

_MOMENTS = ("exp_avg", "exp_avg_sq")
_CROSS, _WEAVE_OUT, _WEAVE_IN = (
    "cross_attn.", "weave_attn.text_to_image_layers.", "weave_attn.image_to_text_layers.",
)  # fmt: skip
_LAST = ("xgain", "bread", "other", "capt", "cattn", "xgainff")


def read_optimizer(path: Path) -> dict[str, Any]:
    """The content of an optN.pt; nothing in it is executed.

    Raises:
        InputError: it cannot be read, or is no optimiser's state.
    """
    found = read_pickled(path, "an optimiser's state")
    try:
        groups = [[int(number) for number in group["params"]] for group in found["param_groups"]]
        known = {*chain.from_iterable(groups)}
        state = {
            int(number): {"step": float(moments["step"])} | {what: moments[what].float() for what in _MOMENTS}
            for number, moments in found["state"].items()
            if int(number) in known
        }
    except (RuntimeError, ValueError, TypeError, OverflowError, LookupError, AttributeError) as error:
        raise InputError(f"{path} holds no optimiser's state: {in_words(error)}") from error
    return {"groups": groups, "state": state}


def fork_moments(found: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The fork's name of a parameter -> its `step`, `exp_avg`, `exp_avg_sq`; none where it had no gradient.

    Args:
        found: from `read_optimizer`.
        weights: its trained parameters, in the order of its modelN.pt.

    Raises:
        InputError: the file's groups are not those of these parameters.
    """
    sizes = [len(group) for group in found["groups"]]
    # 2 parts of a name: its flag weave_legacy_param_names.
    for n_parts in (3, 2):
        groups = fork_groups(list(weights), n_parts)
        if sizes == [len(group) for group in groups]:
            numbers = [*chain.from_iterable(found["groups"])]
            names = [*chain.from_iterable(groups)]
            return dict(_by_name(dict(zip(numbers, names, strict=True)), found["state"], weights))
        if sizes == [1] * len(groups):  # hand-made fp16: each group is one flat tensor
            return dict(_split(groups, found, weights))
    raise InputError(
        f"its {len(sizes)} groups hold {sum(sizes)} parameters, the model's "
        f"{len(fork_groups(list(weights), 3))} groups {len(weights)}"
    )


def fork_groups(names: Sequence[str], n_parts: int) -> list[list[str]]:
    """The fork's parameter groups, in its order (fork_spec 8.3); empty ones left out."""
    kinds: dict[str, dict[str, list[str]]] = {"text": {}, "xattn": {}, "itot": {}}
    last: dict[str, list[str]] = {name: [] for name in _LAST}
    for name in names:
        kind, group = _group_of(name, n_parts)
        into = last if kind == "last" else kinds[kind]
        into.setdefault(group, []).append(name)
    return [group for each in (*kinds.values(), last) for group in each.values() if group]


def _group_of(name: str, n_parts: int) -> tuple[str, str]:
    if name.startswith("clipmod."):
        return "last", "capt"
    if ".encoder_kv" in name:
        return "last", "cattn"
    if "text_encoder" in name:
        layer = name.partition("text_encoder.model.layers.")[2]
        if layer:
            return "text", "layer." + ".".join(layer.split(".")[:2])
        return "text", name.partition("text_encoder.")[2].split(".")[0]
    if "gain" in name:
        return "last", "xgainff" if "gain_ff" in name else "xgain"
    for kind, prefix in (("xattn", _CROSS), ("xattn", _WEAVE_OUT), ("itot", _WEAVE_IN)):
        if prefix in name:
            return kind, ".".join(name.partition(prefix)[2].split(".")[:n_parts])
    return "last", "bread" if name.startswith(("out.", "bread")) else "other"


def _by_name(
    names: Mapping[int, str], state: Mapping[int, Mapping[str, Any]], weights: Mapping[str, Tensor]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    for number, moments in state.items():
        name = names[number]
        for what in _MOMENTS:
            if tuple(moments[what].shape) != tuple(weights[name].shape):
                raise InputError(f"{what} of {name} has the shape {tuple(moments[what].shape)}")
        step = torch.tensor(moments["step"])
        yield name, {"step": step, **{what: moments[what] for what in _MOMENTS}}


def _split(
    groups: Sequence[Sequence[str]], found: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    for group, numbers in zip(groups, found["groups"], strict=True):
        moments = found["state"].get(numbers[0])
        if moments is None:
            continue
        sizes = [math.prod(weights[name].shape) for name in group]
        if any(moments[what].shape != (sum(sizes),) for what in _MOMENTS):
            raise InputError(f"a flat group of {sum(sizes)} numbers holds {moments['exp_avg'].numel()}")
        step = torch.tensor(moments["step"])
        parts = {what: moments[what].split(sizes) for what in _MOMENTS}
        for i, name in enumerate(group):
            yield (
                name,
                {"step": step} | {what: parts[what][i].reshape(weights[name].shape) for what in _MOMENTS},
            )
