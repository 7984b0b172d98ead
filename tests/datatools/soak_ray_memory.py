"""Memory of whole builds of many pictures on Ray: the driver's, and that of the largest of Ray's processes.

    python tests/datatools/soak_ray_memory.py --n 100000

The same as soak_memory.py with actors on this machine in place of processes.
"""

from __future__ import annotations

from typing import Annotated

import typer
from soak_memory import measure


def main(n: Annotated[int, typer.Option(help="Pictures.")] = 100_000) -> None:
    """Print memory at each tenth of the build, and the rate of the second run."""
    measure(n, "ray")


if __name__ == "__main__":
    typer.run(main)
