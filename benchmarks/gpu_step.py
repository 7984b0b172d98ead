"""A training step on a GPU: bf16, channels last and compiled, beside eager float32 steps of the same network.

    python benchmarks/gpu_step.py [--net base-64] [--batch 32] [--rounds 5] [--seconds 100]
    python benchmarks/gpu_step.py --net recipes/mini/base.toml --batch 16 64 256 --seconds 60

Needs a GPU; without one it says so and ends. (--device cpu --small takes the same path with a tiny network.)
The step is the trainer's own: noise and copies, forward, backward, clipping, AdamW, one average; weights are
random, texts have 30 characters. Contenders take turns and are timed by the wall, the device waited for.
Operations are those of `txtdiff train`'s MFU: matrix products and convolutions, forward and backward, counted
from shapes. "Of matmul" compares them with a large bf16 product of random numbers. What compiles comes last,
each within what --seconds leaves, and what fails is named with its cause; tables are printed as they come.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from harness import interleaved, ratio, table

from txtdiff.config import RunConfig
from txtdiff.config_files import file_layer, make_config, preset_layer
from txtdiff.data.batch import Batch, collate, conditions_of
from txtdiff.data.dataset import Sample
from txtdiff.training.distributed import Ranks
from txtdiff.training.graph import Recorder
from txtdiff.training.start import start_or_resume
from txtdiff.training.state import TrainingState
from txtdiff.training.step import train_step
from txtdiff.training.trainer import compile_blocks
from txtdiff.training.utilisation import flops_per_picture, matmul_flops_per_s

SMALL = {
    "model": {
        "image_size_px": 32, "channels": 32, "channel_mult": [1, 2], "n_res_blocks": 1,
        "attention": {"resolutions_px": [16], "heads": 2},
        "text": {"width": 64, "depth": 1, "attention": {"resolutions_px": [16]}},
        "captions": {"tower": "custom", "size": {"width": 64, "layers": 2, "heads": 1}},
    }
}  # fmt: skip

Compiled = Literal["no", "model", "blocks", "graph"]


@dataclass(frozen=True)
class Contender:
    """A way to compute a step."""

    precision: Literal["bf16", "fp32"]
    tf32: bool
    compiled: Compiled = "no"


EAGER = {
    "bf16, channels last, eager": Contender("bf16", tf32=True),
    "tf32, channels first, eager": Contender("fp32", tf32=True),
    "fp32, channels first, eager": Contender("fp32", tf32=False),
}
KINDS: tuple[Compiled, ...] = ("graph", "model", "blocks")
COMPILED = {kind: Contender("bf16", tf32=True, compiled=kind) for kind in KINDS}


class OutOfTime(BaseException):
    """Not an Exception: a compiler that is interrupted must not take it for a failure of its own."""


@dataclass
class Bench:
    """The networks in memory, one for each layout of weights, and the clock."""

    config: RunConfig
    device: torch.device
    seconds: float
    steps: int
    started: float = field(default_factory=time.perf_counter)
    states: dict[str, TrainingState] = field(default_factory=dict)
    forwards: dict[Contender, Callable[..., Any]] = field(default_factory=dict)

    def left(self) -> float:
        return self.seconds - (time.perf_counter() - self.started)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def state(self, precision: str) -> TrainingState:
        if precision not in self.states:
            config = changed(self.config, "optim", precision=precision)
            # Weights are drawn where they will lie: a CPU takes long over 750 million.
            with tempfile.TemporaryDirectory() as out, self.device:
                state = start_or_resume(config, Path(out), self.device, Ranks())
            state.network.train()
            self.states[precision] = state
        return self.states[precision]

    def forward(self, contender: Contender) -> Callable[..., Any]:
        network = self.state(contender.precision).network
        if contender not in self.forwards:
            match contender.compiled:
                case "model":
                    self.forwards[contender] = torch.compile(network)
                case "blocks":
                    compile_blocks(network)  # in place: the others force it eager
                    self.forwards[contender] = network
                case "no" | "graph":
                    self.forwards[contender] = network
        return self.forwards[contender]

    def step(self, contender: Contender, batch: Batch) -> Callable[[], None]:
        """A function that makes some steps and waits for the device."""
        state, forward = self.state(contender.precision), self.forward(contender)
        kind = {"no": "off", "blocks": "model"}.get(contender.compiled, contender.compiled)
        config = changed(state.config, "run", compile=kind)
        recorder = Recorder(list(state.network.parameters())) if kind == "graph" else None

        def run() -> None:
            state.config = config
            torch.set_float32_matmul_precision("high" if contender.tf32 else "highest")
            torch.backends.cudnn.allow_tf32 = contender.tf32
            eager = contender.compiled in ("no", "graph")
            with torch.compiler.set_stance("force_eager") if eager else nullcontext():
                for _ in range(self.steps):
                    train_step(state, batch, forward, Ranks(), self.device, recorder)
            self.wait()

        return run


def changed(config: RunConfig, group: str, **values: Any) -> RunConfig:
    """The settings with some of one group changed."""
    return config.model_copy(update={group: getattr(config, group).model_copy(update=values)})


def make_batch(config: RunConfig, n: int, pin: bool) -> Batch:
    """Pictures of noise with texts of 30 characters, drawn from seeds as the loader does."""
    size, rng = config.model.image_size_px, np.random.default_rng(0)
    m = config.model.map_size_px
    names = config.model.text is not None and config.model.text.names_characters
    length = 30 if config.model.text is None else min(30, config.model.text.max_length - 2)
    samples = [
        Sample(
            position=i,
            pixels=rng.integers(0, 256, (size, size, 3), np.uint8),
            txt=("coffee open " * 3)[:length],
            capt="a photo of a sign",
            characters=np.zeros((m, m), np.int64) if names else None,
        )
        for i in range(n)
    ]
    batch = collate(samples, conditions_of(config.model), config.run.seed)
    return batch.pin_memory() if pin else batch


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTime after so many seconds."""

    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def warmed_up(
    bench: Bench, name: str, contender: Contender, batch: Batch
) -> tuple[Callable[[], None], list[str]] | None:
    """The contender ready to be timed, with seconds until then and its peak of memory; None if it fails."""
    started, on_gpu = time.perf_counter(), bench.device.type == "cuda"
    try:
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(bench.device)
        with limited(bench.left() - 3):
            run = bench.step(contender, batch)
            run()
            first = time.perf_counter() - started
            run()  # graphs are recorded in the second call
    except OutOfTime:
        print(f"{name}: not ready after {time.perf_counter() - started:.0f} s, left out\n", flush=True)
    except Exception as error:  # whatever a compiler or a device says, the others go on
        cause = f"{type(error).__name__}: {error}".strip().splitlines()
        print(f"{name}: failed: {' '.join(cause[:3])[:400]}\n", flush=True)
    else:
        peak = torch.cuda.max_memory_allocated(bench.device) / 2**30 if on_gpu else 0.0
        return run, [f"{peak:.1f}", f"{first:.1f}"]
    for state in bench.states.values():  # what was left half done
        state.optimizer.zero_grad(set_to_none=True)
    return None


def compare(
    bench: Bench, contenders: dict[str, Contender], n: int, rounds: int, rates: tuple[float, float]
) -> None:
    """Time contenders in turns on batches of n, and print a table.

    Args:
        rates: operations per picture, and per second in a matrix product.
    """
    batch = make_batch(bench.config, n, pin=bench.device.type == "cuda")
    ready = {name: warmed_up(bench, name, contender, batch) for name, contender in contenders.items()}
    runs = {name: found[0] for name, found in ready.items() if found is not None}
    if not runs:
        return
    spent = interleaved(runs, rounds, time.perf_counter)
    ours, (per_picture, matmul) = list(runs)[-1], rates
    rows = []
    for name, seconds in spent.items():
        rate = bench.steps * n / float(np.median(seconds))
        share = rate * per_picture / matmul
        figures = [
            f"{rate:.1f}",
            f"{1000 * n / rate:.1f}",
            f"{rate * per_picture / 1e12:.2f}",
            f"{share:.1%}",
        ]
        found = ready[name]
        assert found is not None
        rows.append([name, *figures, ratio(seconds, spent[ours]), *found[1]])
    print(f"Batch {n}, n = {rounds} rounds of {bench.steps} steps\n")
    header = ["step", "pictures/s", "ms a step", "TFLOP/s", "of bf16 matmul (target 35 %)"]
    header += [f"this / {ours} (target for fp32 2.5)", "peak GiB", "s until ready"]
    print(table(header, rows), flush=True)
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--net", default="base-64", help="a preset, or a file of settings")
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--compile", nargs="*", choices=[*COMPILED], default=["graph", "model"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps in a round")
    parser.add_argument("--seconds", type=float, default=100, help="what does not fit is left out")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="a tiny network in place of --net")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("left out: this benchmark needs a GPU, and torch finds none here")
        return
    layer = preset_layer(args.net) if not args.net.endswith(".toml") else file_layer(Path(args.net))
    config = make_config(SMALL if args.small else layer, {"model": {"captions": {"weights": "random"}}})
    on_gpu = args.device == "cuda"
    bench = Bench(
        config, torch.device("cuda", 0) if on_gpu else torch.device("cpu"), args.seconds, args.steps
    )
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.enable_cudnn_sdp(False)  # as the trainer
    matmul = matmul_flops_per_s(bench.device, torch.bfloat16 if on_gpu else torch.float32)
    per_picture = flops_per_picture(config.model)
    card = torch.cuda.get_device_name(bench.device) if on_gpu else "CPU"
    print(f"{'tiny' if args.small else args.net} on {card}, torch {torch.__version__}: ", end="")
    print(f"{per_picture / 1e9:.1f} GFLOP a picture; bf16 matmul {matmul / 1e12:.2f} TFLOP/s\n", flush=True)
    wanted: list[dict[str, Contender]] = [
        EAGER if on_gpu else {"fp32, eager": EAGER["fp32, channels first, eager"]}
    ]
    slow = {name: contender for name, contender in EAGER.items() if contender.precision == "fp32"}
    if on_gpu:
        wanted += [{**slow, f"compiled: {kind}": COMPILED[kind]} for kind in args.compile]
    for contenders in wanted:
        for n in args.batch:
            if bench.left() < 5:
                print(f"batch {n}, {', '.join(contenders)}: no time left\n", flush=True)
                continue
            compare(bench, contenders, n, args.rounds, (per_picture, matmul))
    print(f"{time.perf_counter() - bench.started:.0f} s in all", file=sys.stderr)


if __name__ == "__main__":
    main()
