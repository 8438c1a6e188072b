"""How often the search's bracket contains the truth: `make bench-search` draws 200 laws that it was never tuned on.

A law is a simulated server on a virtual clock (tests/capacity/simulation.py says how they are drawn); the truth of a
level is ten minutes of it.
"""

import os
import sys
from multiprocessing import Pool

import click

from tests.capacity.simulation import LIMIT_SECONDS, Found, draw, found

FIRST = 20_000


def one(seed: int) -> Found:
    """Draw a law and search it."""
    return found(draw(seed), seed)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with Pool(os.cpu_count()) as pool:
        tries = pool.map(one, range(FIRST, FIRST + count), chunksize=4)
    resolved = [found for found in tries if found.search.resolved]
    low = sum(found.low_p95 > LIMIT_SECONDS for found in resolved)
    high = sum(found.high_p95 <= LIMIT_SECONDS for found in resolved)
    click.echo(
        f"{sum(found.holds for found in tries)} of {count} brackets are tight and contain the truth; of the others "
        f"{count - len(resolved)} were not resolved in 12 levels, {low} had a low edge that fails in ten minutes, "
        f"{high} a high edge that holds"
    )


if __name__ == "__main__":
    main()
