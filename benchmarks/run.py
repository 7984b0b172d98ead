"""Run the benchmarks of a list and put what they print into RESULTS.md.

    python benchmarks/run.py bench
    python benchmarks/run.py soak --only soak_kills

See README.md beside this file.
"""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from harness import load_average, machine

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
LISTS = ("bench", "soak")
HEAD = """# Results

The last run of every benchmark (`make bench`) and endurance test (`make soak`), with its date and machine.
Rates depend on the machine; read the ratios. Written by `benchmarks/run.py`; [README.md](README.md) says how.
"""


@dataclass(frozen=True)
class Benchmark:
    """A line of a list."""

    script: Path
    """Relative to the project."""
    long: list[str]
    """Options of `make bench` and `make soak`."""
    short: list[str]
    """Options of `make test`."""

    @property
    def name(self) -> str:
        return self.script.stem


def read_list(name: str) -> list[Benchmark]:
    """The benchmarks of bench.list or soak.list."""
    lines = (HERE / f"{name}.list").read_text().splitlines()
    return [_parse(line) for line in lines if line.strip() and not line.startswith("#")]


def _parse(line: str) -> Benchmark:
    long, _, short = line.partition("|")
    script, *options = shlex.split(long)
    return Benchmark(Path(script), options, shlex.split(short))


def run(benchmark: Benchmark) -> str | None:
    """The section of a benchmark; None when it failed, "" where this machine lacks what it needs."""
    command = ["python", str(benchmark.script), *benchmark.long]
    typer.echo(f"{shlex.join(command)} ...", err=True)
    busy, started = load_average(), time.monotonic()
    done = subprocess.run([sys.executable, *command[1:]], cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        typer.echo(f"{benchmark.name} failed with exit status {done.returncode}", err=True)
        return None
    if done.stdout.startswith("left out"):
        typer.echo(f"{benchmark.name} {done.stdout.strip()}", err=True)
        return ""
    purpose = (ast.get_docstring(ast.parse((HERE.parent / benchmark.script).read_text())) or "").splitlines()[
        0
    ]
    today, load = date.today(), f"load {busy} before and {load_average()} after"
    ran = f"{today.day} {today:%B %Y}, {time.monotonic() - started:.0f} s, {load}"
    facts = f"{purpose}\n\n`{shlex.join(command)}`: {ran}.\n{machine()}."
    return f"## {benchmark.name}\n\n{facts}\n\n{done.stdout.strip()}\n"


def put(section: str) -> None:
    """Replace the section of that name in RESULTS.md, or add it; sections stand in the order of the lists."""
    text = RESULTS.read_text() if RESULTS.exists() else HEAD
    sections = {_heading(old): old.strip() + "\n" for old in ("\n" + text).split("\n## ")[1:]}
    sections[_heading(section.removeprefix("## "))] = section.removeprefix("## ")
    order = [benchmark.name for name in LISTS for benchmark in read_list(name)]
    RESULTS.write_text("\n".join([HEAD, *(f"## {sections[name]}" for name in order if name in sections)]))


def _heading(section: str) -> str:
    return section.partition("\n")[0].strip()


def main(
    name: Annotated[str, typer.Argument(help=f"Which list: {' or '.join(LISTS)}.")],
    only: Annotated[list[str], typer.Option(help="Only benchmarks of these names.")] = [],  # noqa: B006
) -> None:
    """Run the benchmarks of a list one after the other. One that fails keeps its earlier result."""
    chosen = [benchmark for benchmark in read_list(name) if not only or benchmark.name in only]
    if not chosen:
        raise typer.BadParameter(f"{name}.list has no {', '.join(only)}")
    n_failed = 0
    for benchmark in chosen:
        section = run(benchmark)
        n_failed += section is None
        if section:
            put(section)
    raise typer.Exit(bool(n_failed))


if __name__ == "__main__":
    typer.run(main)
