"""One core: what loading, pricing and analysing a model costs once, and what each row costs after that."""

import time
from statistics import median
from typing import Any

import numpy as np

from benchmarks.batch.grid import PAIRS, REFERENCE, batch_model, batch_settings, networks
from benchmarks.result import Bar
from benchmarks.section import Section, seconds, table
from benchmarks.settings import SEED, Settings
from benchmarks.zoo.files import network_file
from partition import partition
from partition.batch.models import load
from partition.batch.numeric import solve_rows
from partition.batch.pricing import PricedModel, price
from partition.batch.settings import Settings as BatchSettings
from partition.batch.table import ModelRows

LIMIT_PER_S = 50_000.0
ROUNDS, N_COMPARED = 5, 20


class DifferentPlansError(AssertionError):
    """A row is not what `partition` answers."""


def measure(settings: Settings) -> Section:
    """Solve network by network, in this process."""
    batch = batch_settings(settings)
    rounds = settings.repetitions or (3 if settings.quick else ROUNDS)
    rows = []
    for name in networks(settings):
        with network_file(name, settings.cache) as path:
            model = batch_model(name, path)
            start_s = time.perf_counter()
            priced = price(model, batch)
            prepared_s = time.perf_counter() - start_s
            found = solve_rows(priced, batch)  # warm
            timings_s = []
            for _ in range(rounds):
                start_s = time.perf_counter()
                solve_rows(priced, batch)
                timings_s.append(time.perf_counter() - start_s)
            rows.append(_row(name, priced, found, prepared_s, timings_s) | _compared(model, found, batch))
    return _section(rows)


def _row(name: str, priced: PricedModel, found: ModelRows, prepared_s: float, timings_s: list[float]) -> dict[str, Any]:
    n_rows, numeric_s = len(found), median(timings_s)
    return {
        "kind": "network",
        "network": name,
        "layers": len(priced.bridge.layers),
        "problems": n_rows,
        "errors": found.n_errors,
        "proven": int(found.optimal.sum()),
        "cuts": len(found.cuts),
        "methods": list(found.methods),
        "prepare_s": prepared_s,
        "numeric_s": numeric_s,
        "numeric_least_s": min(timings_s),
        "numeric_most_s": max(timings_s),
        "numeric_per_s": n_rows / numeric_s,
        "per_s": n_rows / (numeric_s + prepared_s),
    }


def _compared(model: Any, found: ModelRows, batch: BatchSettings) -> dict[str, Any]:
    """Plan a sample of rows one by one, from a graph that is loaded already, and compare the values."""
    graph, _ = load(model, {}, "layer")
    plain = [at for at, (device, server) in enumerate(PAIRS) if isinstance(device, str) and isinstance(server, str)]
    random = np.random.default_rng([SEED, found.n_layers or 0])
    timings_s, largest = [], 0.0
    for _ in range(N_COMPARED):
        pair, link = int(random.choice(plain)), int(random.integers(len(batch.links)))
        device, server = PAIRS[pair]
        start_s = time.perf_counter()
        plan = partition(graph, batch.links[link], device=device, server=server)  # type: ignore[arg-type]
        timings_s.append(time.perf_counter() - start_s)
        value = float(found.floats["value"][pair * len(batch.links) + link])
        difference = abs(value - plan.value) / plan.value
        largest = max(largest, difference)
        if not difference <= 1e-9:
            raise DifferentPlansError(f"{model.name}, {device}, {server}, {batch.links[link]}: {value}, {plan.value}")
    return {"plan_s": median(timings_s), "compared": N_COMPARED, "largest_relative_difference": largest}


def _section(rows: list[dict[str, Any]]) -> Section:
    problems = sum(row["problems"] for row in rows)
    numeric_s, prepare_s = (sum(row[name] for row in rows) for name in ("numeric_s", "prepare_s"))
    total = {
        "kind": "total",
        "networks": len(rows),
        "problems": problems,
        "errors": sum(row["errors"] for row in rows),
        "proven": sum(row["proven"] for row in rows),
        "prepare_s": prepare_s,
        "numeric_s": numeric_s,
        "numeric_per_s": problems / numeric_s,
        "per_s": problems / (numeric_s + prepare_s),
    }
    shown = table(
        "Best cuts on one core",
        ("network", "layers", "cuts", "method", "load and price", "per row", "rows/s", "with loading", "plan alone"),
        [
            (
                row["network"],
                str(row["layers"]),
                str(row["cuts"]),
                ", ".join(row["methods"]),
                seconds(row["prepare_s"]),
                seconds(row["numeric_s"] / row["problems"]),
                f"{row['numeric_per_s']:,.0f}",
                f"{row['per_s']:,.0f}",
                seconds(row["plan_s"]),
            )
            for row in rows
        ],
    )
    bars = [
        Bar(f"rows per second at {REFERENCE}, one core, without loading", row["numeric_per_s"], LIMIT_PER_S, "higher")
        for row in rows
        if row["network"] == REFERENCE
    ]
    bars.append(Bar("rows with errors or without a proof", float(problems - total["proven"]), 0.0, "lower"))
    notes = (
        f"{len(rows)} networks, {problems:,} problems on one core: {total['numeric_per_s']:,.0f} per second without "
        f"loading ({numeric_s:.1f} s), {total['per_s']:,.0f} with it ({prepare_s:.1f} s more).",
        "plan alone: one call of partition() on a graph that is loaded already, which also describes parts and memory.",
    )
    return Section(tuple(bars), (*rows, total), (shown,), notes)
