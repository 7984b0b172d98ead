"""What benchmarks share: turns, ratios with intervals, tables, and the machine they ran on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.statistics import bootstrap_weights, ratio_interval

LIBRARIES = ("torch", "onnxruntime", "rapidocr", "easyocr", "duckdb", "pyarrow", "numpy", "pillow")


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of every contender in each round. They take turns, so that a busy machine is busy for all.

    Args:
        contenders: what to run, by name; each runs once more before the clock starts.
        rounds: how often each runs.
        clock: CPU seconds of this process, or `time.perf_counter` where work is done elsewhere.
    """
    for run in contenders.values():
        run()
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            started = clock()
            run()
            spent[name].append(clock() - started)
    return spent


def ratio(theirs: npt.ArrayLike, ours: npt.ArrayLike) -> str:
    """Sum of `theirs` over sum of `ours`, with a 95 % bootstrap interval over the pairs."""
    above, below = np.asarray(theirs, np.float64), np.asarray(ours, np.float64)
    interval = ratio_interval(above, below, bootstrap_weights(len(below)))
    times = f"{above.sum() / below.sum():.2f}"
    return times if interval is None else f"{times} ({interval.low:.2f}-{interval.high:.2f})"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(map(str, row)) for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def machine() -> str:
    """CPU, cores, memory, system, libraries, and what a core can do, in one line."""
    cpu = _first_value(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    hardware = f"{cpu}, {os.cpu_count()} cores, {memory_gib:.0f} GiB; {platform.system()}"
    libraries = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    return f"{hardware}; Python {platform.python_version()}, {libraries}; ceilings: {ceilings()}"


def ceilings() -> str:
    """Best of five on one thread, in a process of its own: float32 matrix product, and copying memory."""
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    command = [sys.executable, "-c", "import harness; print(harness.measured_ceilings())"]
    here = Path(__file__).parent
    done = subprocess.run(
        command, cwd=here, env=os.environ | one_thread, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def measured_ceilings() -> str:
    """What `ceilings` says, with as many threads as BLAS has here."""
    a = np.random.default_rng(0).random((512, 512), np.float32)
    block = np.ones(2**25, np.float32)
    spent = interleaved({"matmul": lambda: [a @ a for _ in range(8)], "copy": block.copy}, 5)
    matmul = 8 * 2 * 512**3 / min(spent["matmul"]) / 1e9
    copied = block.nbytes / min(spent["copy"]) / 1e9
    return f"{matmul:.0f} GFLOP per CPU-s, {copied:.1f} GB/s copied"


def load_average() -> str:
    """Processes that were running or waiting over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _first_value(path: Path, name: str) -> str | None:
    if not path.exists():
        return None
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), None)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
