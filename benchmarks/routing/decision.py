"""What one decision of a live router costs, in plain Python."""

import statistics
import time
from itertools import cycle, islice

from benchmarks.result import Bar
from benchmarks.routing.sequences import draw_lengths
from benchmarks.routing.setups import END, GATEWAY, two_machines, two_servers
from benchmarks.runtime.setting import on_device_core
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition.routing.router import Router

LIMIT_US = 20.0
DECISIONS, QUICK_DECISIONS, WARM_UP = 50_000, 3_000, 500


def measure(settings: Settings) -> Section:
    """Time decisions one by one, for inputs of varying length."""
    count = QUICK_DECISIONS if settings.quick else DECISIONS
    networks = {
        "2 machines, end node": (two_machines("300 units", (200.0,)).network, END),
        "4 machines, end node": (two_servers("300 units").network, END),
        "4 machines, gateway": (two_servers("300 units").network, GATEWAY),
    }
    rows = []
    lengths = draw_lengths("SNLI", 1000).tolist()
    for name, (network, machine) in networks.items():
        router = Router(network, machine)
        taken_us = []
        visited = () if machine == END else (END,)
        with on_device_core():
            for length in islice(cycle(lengths), WARM_UP + count):
                before_ns = time.perf_counter_ns()
                router.decide(length, visited=visited)
                taken_us.append((time.perf_counter_ns() - before_ns) / 1e3)
        taken_us = taken_us[WARM_UP:]
        rows.append(
            {
                "kind": "decision",
                "router": name,
                "decisions": count,
                "median_us": statistics.median(taken_us),
                "p95_us": statistics.quantiles(taken_us, n=20)[-1],
                "least_us": min(taken_us),
            }
        )
    bars = tuple(
        Bar(
            f"decision: {what} of the slowest router, us",
            max(float(str(row[f"{what}_us"])) for row in rows),
            LIMIT_US,
            "lower",
        )
        for what in ("median", "p95")
    )
    lines = [[str(row["router"]), *(f"{row[f'{what}_us']:.1f}" for what in ("median", "p95", "least"))] for row in rows]
    return Section(bars, tuple(rows), (table("A decision, us", ("router", "median", "p95", "least"), lines),))
