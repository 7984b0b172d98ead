"""The long form of two tests: kill -9 at random moments, and mutated pictures. Not collected by pytest.

python tests/datatools/soak_build.py --kills 200 --mutations 10000
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from small_reader import draw
from test_build import build, content, rows, start_slow_build

from datatools.catalog import open_catalog
from datatools.check import check_catalog
from datatools.decode import CAUSES, Limits, Rejection, decode

N_PICTURES = 80
BATCH = 2  # what start_slow_build commits at a time


def soak_kills(n_kills: int, dice: random.Random) -> Counter[str]:
    """Kill builds at random until `n_kills` came after an acknowledged commit; check all invariants."""
    seen: Counter[str] = Counter()
    while seen["kills after an acknowledgement"] < n_kills:
        with tempfile.TemporaryDirectory() as name:
            source, catalog = Path(name) / "in", Path(name) / "c.duckdb"
            for number in range(N_PICTURES):
                draw(source / f"{number:03d}.png", f"word{number}")
            build(source, Path(name) / "unbroken.duckdb")
            while kill_once(source, catalog, dice, seen) and seen["kills after an acknowledgement"] < n_kills:
                pass
            build(source, catalog)
            assert content(catalog) == content(Path(name) / "unbroken.duckdb"), "content differs"
            with open_catalog(catalog) as opened:
                assert list(check_catalog(opened)) == []
            seen["catalogs equal to an unbroken build"] += 1
    return seen


def kill_once(source: Path, catalog: Path, dice: random.Random, seen: Counter[str]) -> bool:
    """Start or go on, kill at a random moment after the first commit; False when the build was quicker."""
    before = count(catalog)
    process = start_slow_build(source, catalog)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(dice.expovariate(1 / 0.15))
    process.kill()
    acknowledged = sum(int(line.split()[1]) for line in (first, *process.stdout) if line.startswith("acked"))
    killed = process.wait() == -9
    kept = count(catalog)
    assert before + acknowledged <= kept <= before + acknowledged + BATCH, (before, acknowledged, kept)
    seen["kills after an acknowledgement"] += bool(acknowledged and killed)
    seen["rows acknowledged"] += acknowledged
    return killed


def count(catalog: Path) -> int:
    return int(str(rows(catalog, "SELECT count(*) FROM transcriptions")[0][0])) if catalog.exists() else 0


def soak_mutations(n_pictures: int, dice: random.Random) -> Counter[str]:
    """Decode pictures with random bytes changed, cut out, doubled or cut off: pixels or a cause, always."""
    noise = np.random.default_rng(dice.randrange(2**32)).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    seen: Counter[str] = Counter()
    for _ in range(n_pictures):
        buffer = BytesIO()
        Image.fromarray(noise).save(buffer, dice.choice(["PNG", "JPEG", "GIF", "WEBP", "BMP"]))
        data = mutated(bytearray(buffer.getvalue()), dice)
        began = time.monotonic()
        try:
            decode(data, Limits(max_pixels=4_000_000))
            seen["pixels"] += 1
        except Rejection as rejection:
            assert rejection.cause in CAUSES
            seen[rejection.cause] += 1
        assert time.monotonic() - began < 10, "too slow"
    return seen


def mutated(data: bytearray, dice: random.Random) -> bytes:
    for _ in range(dice.randint(1, 8)):
        at, length = dice.randrange(len(data) or 1), dice.randint(1, 40)
        change = dice.choice(["flip", "flip", "cut out", "double", "cut off"])
        if change == "flip":
            data[at : at + 1] = bytes([dice.randrange(256)])
        elif change == "cut out":
            del data[at : at + length]
        elif change == "double":
            data[at:at] = data[at : at + length]
        else:
            del data[max(at, 1) :]
    return bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    dice = random.Random(chosen.seed)
    print("mutated pictures:", dict(soak_mutations(chosen.mutations, dice)))
    print("kills:", dict(soak_kills(chosen.kills, dice)))
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
