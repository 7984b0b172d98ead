"""Forward and backward pass recorded once as a CUDA graph and replayed.

Launching the thousand kernels of a small network takes longer than running them: a step of the mini recipe
took 70 to 110 ms on an H200, whether of 64 pictures or of 256 (measured).

As PyTorch's notes on CUDA graphs record a whole network: a few passes on a side stream first, then the
recording, whose inputs, outputs and gradients keep their places in memory from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from txtdiff.diffusion.losses import LossTerms
from txtdiff.training.inputs import Inputs

__all__ = ["Recorder"]

_N_WARM = 3

Pass = Callable[[Inputs], LossTerms]
"""Forward and backward pass: leaves gradients at the weights and returns the losses."""


@dataclass
class _Recording:
    inputs: Inputs
    graph: torch.cuda.CUDAGraph
    terms: LossTerms
    gradients: list[Tensor | None]


@dataclass
class Recorder:
    """A pass that is recorded the first time it meets inputs of a shape, and replayed ever after.

    Args:
        weights: those that get gradients.
    """

    weights: list[Tensor]
    _recordings: dict[tuple[torch.Size, ...], _Recording] = field(default_factory=dict)

    def __call__(self, inputs: Inputs, one_pass: Pass) -> LossTerms:
        """As `one_pass(inputs)`; gradients and losses are overwritten by the next call.

        Args:
            inputs: on a GPU.
            one_pass: what is recorded. It must not look at values, nor draw random numbers.
        """
        shape = tuple(tensor.shape for tensor in inputs.tensors())
        if shape not in self._recordings:
            self._recordings[shape] = self._record(inputs, one_pass)
        recording = self._recordings[shape]
        for place, tensor in zip(recording.inputs.tensors(), inputs.tensors(), strict=True):
            place.copy_(tensor, non_blocking=True)
        recording.graph.replay()
        for weight, gradient in zip(self.weights, recording.gradients, strict=True):
            weight.grad = gradient
        return recording.terms

    def _record(self, inputs: Inputs, one_pass: Pass) -> _Recording:
        own = inputs.copy()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own stub lacks it
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_N_WARM):
                self._forget()
                one_pass(own)
        torch.cuda.current_stream().wait_stream(side)
        self._forget()
        graph = torch.cuda.CUDAGraph()
        # The loader's thread pins memory meanwhile: that must not end the recording.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            terms = one_pass(own)
        return _Recording(own, graph, terms, [weight.grad for weight in self.weights])

    def _forget(self) -> None:
        for weight in self.weights:
            weight.grad = None
