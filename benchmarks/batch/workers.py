"""Two processes against one: the whole batch, loading included."""

import time
from contextlib import ExitStack
from statistics import median
from typing import Any

from benchmarks.batch.grid import PAIRS, built, links, networks
from benchmarks.result import Bar
from benchmarks.section import Section, seconds, table
from benchmarks.settings import Settings
from partition.batch import BatchTable, solve_many

LIMIT = 1.7
ROUNDS = 5


def measure(settings: Settings) -> Section:
    """Solve all networks with one worker and with two, in turn; the pools are started before."""
    rounds = settings.repetitions or (1 if settings.quick else ROUNDS)
    rates = links(settings)
    timings_s: dict[int, list[float]] = {1: [], 2: []}
    tables: dict[int, BatchTable] = {}
    with ExitStack() as stack:
        models = built(networks(settings), settings, stack)
        for workers in timings_s:
            # Starts the processes, and loads the compiled kernels into each.
            solve_many([models[0]] * 2 * workers, rates, PAIRS, workers=workers)
        for at in range(rounds):
            for workers in (1, 2) if at % 2 == 0 else (2, 1):
                start_s = time.perf_counter()
                tables[workers] = solve_many(models, rates, PAIRS, workers=workers)
                timings_s[workers].append(time.perf_counter() - start_s)
    for one, two in zip(tables[1].models, tables[2].models, strict=True):
        if one.floats["value"].tobytes() != two.floats["value"].tobytes():
            raise AssertionError(f"{one.model}: two workers give other values than one")
    return _section(len(models), len(tables[1]), timings_s)


def _section(n_models: int, n_rows: int, timings_s: dict[int, list[float]]) -> Section:
    ratios = [one / two for one, two in zip(timings_s[1], timings_s[2], strict=True)]
    rows: list[dict[str, Any]] = [
        {
            "kind": "workers",
            "workers": workers,
            "networks": n_models,
            "problems": n_rows,
            "median_s": median(found),
            "least_s": min(found),
            "most_s": max(found),
            "per_s": n_rows / median(found),
        }
        for workers, found in timings_s.items()
    ]
    rows.append({"kind": "ratio", "median": median(ratios), "least": min(ratios), "most": max(ratios)})
    shown = table(
        f"{n_models} networks, {n_rows:,} rows, loading included",
        ("workers", "median", "least", "most", "rows/s"),
        [
            (
                str(row["workers"]),
                *(seconds(row[name]) for name in ("median_s", "least_s", "most_s")),
                f"{row['per_s']:,.0f}",
            )
            for row in rows[:2]
        ],
    )
    bar = Bar(f"two workers against one, median of {len(ratios)}", median(ratios), LIMIT, "higher")
    return Section((bar,), tuple(rows), (shown,))
