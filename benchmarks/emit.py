"""The benchmark ``emit``: what a split costs when it runs, and what finding and writing it costs.

Three questions: how much slower are two parts than the whole model, at the boundaries between layers and, without a
limit, inside what the runtime fuses; how long does the command take; and where does its time go.
"""

import math
from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.command import BANDWIDTH, CommandTiming, measure_command
from benchmarks.models import model_file
from benchmarks.overhead import CutTiming, Effort, interquartile_range, measure_overhead
from benchmarks.result import Bar, Result
from benchmarks.settings import Settings
from graph_io import LIGHT_MODELS

OVERHEAD_LIMIT = 1.05
COMMAND_LIMIT = 3.0
# Below this the runtime's fixed cost of a call is a visible share of an inference.
LIMITED_FROM_S = 0.020
QUICK_MODELS = ("squeezenet", "inception_v1", "shufflenet", "resnet50")
COMMAND_MODEL = "resnet50"
_FULL = Effort(boundaries=30, inside=10, least_repetitions=7, most_repetitions=30)
_QUICK = Effort(boundaries=4, inside=2, least_repetitions=3, most_repetitions=5)


def run(settings: Settings) -> Result:
    """Measure all parts of this benchmark."""
    models = settings.models or (QUICK_MODELS if settings.quick else LIGHT_MODELS)
    command_model = COMMAND_MODEL if COMMAND_MODEL in models else models[0]
    effort = _effort(settings)
    command_repetitions = settings.repetitions or (3 if settings.quick else 7)
    cuts: list[CutTiming] = []
    with _progress() as bar:
        task = bar.add_task("", total=len(models) + 1)
        for number, name in enumerate(models):

            def step(what: str, share: float, done: int = number) -> None:
                # Drawn between measurements only: a thread that draws would disturb them.
                bar.update(task, description=what, completed=done + share, refresh=True)

            step(f"{name}: building", 0.0)
            with model_file(name, settings.cache) as path:
                cuts.extend(measure_overhead(name, path, effort, step))
        step(f"{command_model}: building", 1.0)
        with model_file(command_model, settings.cache) as path:
            commands = measure_command(path, command_repetitions, lambda what, share: step(what, 1.0 + share))
    return _result(models, cuts, command_model, commands)


def _effort(settings: Settings) -> Effort:
    effort = _QUICK if settings.quick else _FULL
    if settings.repetitions is None:
        return effort
    return Effort(effort.boundaries, effort.inside, settings.repetitions, settings.repetitions)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)


def _result(
    models: Sequence[str], cuts: Sequence[CutTiming], command_model: str, commands: Sequence[CommandTiming]
) -> Result:
    bars: list[Bar] = []
    rows: list[dict[str, object]] = []
    limited, quick_ones, inside = (
        _overhead_table(title)
        for title in (
            f"Two parts over the whole, cut between layers (limit {OVERHEAD_LIMIT:g})",
            f"The same, models under {1e3 * LIMITED_FROM_S:g} ms (no limit)",
            "Cut inside what the runtime fuses (no limit)",
        )
    )
    for name in models:
        # One latency a model decides for all its rows; every cut measured it anew.
        whole_s = float(np.median([cut.whole_s for cut in cuts if cut.model == name]))
        has_limit = whole_s >= LIMITED_FROM_S
        for place, table in (("layer boundary", limited if has_limit else quick_ones), ("inside a fusion", inside)):
            chosen = [cut for cut in cuts if cut.model == name and cut.place == place]
            if not chosen:
                continue
            row = _model_row(chosen)
            rows.append(row)
            _add_overhead(table, chosen, row)
            if has_limit and place == "layer boundary":
                value = float(np.median([cut.ratio for cut in chosen]))
                bars.append(Bar(f"parts over whole, median over cuts: {name}", value, OVERHEAD_LIMIT, "lower"))
    rows += [_cut_row(cut) for cut in cuts]
    rows += [_command_row(command_model, one) for one in commands]
    bars.append(
        Bar(
            f"command without writing over load, shapes and open: {command_model}",
            _median([one.without_writing_s for one in commands]) / _median([one.baseline_s for one in commands]),
            COMMAND_LIMIT,
            "lower",
        )
    )
    tables = [table for table in (limited, quick_ones, inside) if table.row_count]
    notes = (
        "ratio: time of head and tail over time of the whole model, 1 thread, medians of alternating runs; "
        "spread: interquartile range over the cuts",
        "error: the largest max |parts - whole| / max |whole| over the cuts; exact: cuts with bit-identical outputs",
    )
    return Result("emit", tuple(bars), tuple(rows), (*tables, _command_table(command_model, commands)), notes)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def _model_row(cuts: Sequence[CutTiming]) -> dict[str, object]:
    ratios = [cut.ratio for cut in cuts]
    return {
        "kind": "model",
        "model": cuts[0].model,
        "place": cuts[0].place,
        "cuts": len(cuts),
        "repetitions": cuts[0].repetitions,
        "whole_ms": 1e3 * _median([cut.whole_s for cut in cuts]),
        "ratio_median": _median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "ratio_spread": interquartile_range(ratios),
        "slowest_cut": max(cuts, key=lambda cut: cut.ratio).tensor,
        "max_relative_error": _finite(max(cut.max_relative_error for cut in cuts)),
        "bit_identical_cuts": sum(cut.bit_identical for cut in cuts),
    }


def _cut_row(cut: CutTiming) -> dict[str, object]:
    return {
        "kind": "cut",
        "model": cut.model,
        "place": cut.place,
        "tensor": cut.tensor,
        "repetitions": cut.repetitions,
        "whole_ms": 1e3 * cut.whole_s,
        "parts_ms": 1e3 * cut.parts_s,
        "whole_spread_ms": 1e3 * cut.whole_spread_s,
        "parts_spread_ms": 1e3 * cut.parts_spread_s,
        "ratio": cut.ratio,
        "max_relative_error": _finite(cut.max_relative_error),
        "bit_identical": cut.bit_identical,
    }


def _command_row(model: str, one: CommandTiming) -> dict[str, object]:
    return {
        "kind": "command",
        "model": model,
        "bandwidth": BANDWIDTH,
        "process_s": one.process_s,
        "plan_s": one.plan_s,
        "write_and_open_s": one.write_and_open_s,
        "around_s": one.around_s,
        "without_writing_s": one.without_writing_s,
        "baseline_s": one.baseline_s,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _overhead_table(title: str) -> Table:
    # Narrow enough for a terminal of 80 columns.
    table = Table(title=title, box=SIMPLE, pad_edge=False, padding=0)
    table.add_column("model", no_wrap=True, min_width=max(map(len, LIGHT_MODELS)))
    headings = ("whole ms", "cuts", "runs", "median", "min", "max", "spread", "error", "exact")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _add_overhead(table: Table, cuts: Sequence[CutTiming], row: dict[str, object]) -> None:
    error = max(cut.max_relative_error for cut in cuts)
    table.add_row(
        str(row["model"]),
        f"{row['whole_ms']:.1f}",
        str(len(cuts)),
        str(row["repetitions"]),
        *(f"{row[key]:.3f}" for key in ("ratio_median", "ratio_min", "ratio_max", "ratio_spread")),
        f"{error:.1g}",
        str(row["bit_identical_cuts"]),
    )


def _command_table(model: str, commands: Sequence[CommandTiming]) -> Table:
    table = Table(
        "what", box=SIMPLE, title=f"dnn-partition split {model}.onnx -b {BANDWIDTH} -o OUT --json, {len(commands)} runs"
    )
    for heading in ("median s", "min s", "max s", "spread s"):
        table.add_column(heading, justify="right")
    shown = {
        "whole process": [one.process_s for one in commands],
        "  planning: load, layers, solve": [one.plan_s for one in commands],
        "  writing and opening the parts": [one.write_and_open_s for one in commands],
        "  start, imports, printing, exit": [one.around_s for one in commands],
        "process without writing and opening": [one.without_writing_s for one in commands],
        "baseline: load, infer shapes, open": [one.baseline_s for one in commands],
    }
    for what, seconds in shown.items():
        values = (_median(seconds), min(seconds), max(seconds), interquartile_range(seconds))
        table.add_row(what, *(f"{value:.2f}" for value in values))
    return table
