"""The benchmark ``big``: a model of 2.3 GB, weights in a file of their own, is planned, split and saved.

Weights that a plan does not need are not read: beside the model nothing is copied, elsewhere each part gets its own
byte ranges. Each run is a fresh process that first imports every module it will use, so that the time is what comes
after. The data file is sparse: it has the size, and takes hardly any disk.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.big_model import write_big_model
from benchmarks.result import Bar, Result
from benchmarks.settings import Settings

TIME_LIMIT_S = 1.0
MEMORY_LIMIT_MB = 300.0
CUT = "block9_end"
# Blocks of 123 MB each.
_WIDTH, _HEADS, _N_BLOCKS, _QUICK_BLOCKS = 1600, 16, 19, 11
_RUN = """
import importlib, json, os, sys, time
for name in json.loads(sys.argv[5]):
    try:
        importlib.import_module(name)
    except Exception:
        pass
start = time.perf_counter()
from partition import partition
plan = partition(sys.argv[1], "wifi", dims={"seq": 128}, cut=[sys.argv[2]])
planned = time.perf_counter()
saved = plan.save(sys.argv[3], link_weights=sys.argv[4] == "link")
end = time.perf_counter()
with open("/proc/self/status") as file:
    peak_kb = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
written = sum(part.file_bytes for part in saved.parts)
if sys.argv[4] == "copy":
    written += sum(one.size_bytes for part in saved.parts for one in part.weights_files)
print(json.dumps({"plan_s": planned - start, "save_s": end - planned, "peak_mb": 1.024e-3 * peak_kb,
    "written_mb": 1e-6 * written, "layers": saved.model.n_layers, "modules": sorted(sys.modules)}))
"""


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    mode: str
    timed: bool


_CASES = (
    _Case("beside the model", "beside", timed=True),
    _Case("another folder, ranges copied", "copy", timed=False),
    _Case("another folder, hard links", "link", timed=False),
)


def run(settings: Settings) -> Result:
    """Measure all ways of saving."""
    repetitions = settings.repetitions or (3 if settings.quick else 7)
    rows: list[dict[str, object]] = []
    found: dict[str, list[dict[str, float]]] = {case.name: [] for case in _CASES}
    with (
        tempfile.TemporaryDirectory(prefix="dnn-partition-bench-", dir=settings.cache) as folder,
        Console(stderr=True).status("big: measuring"),
    ):
        n_blocks = _QUICK_BLOCKS if settings.quick else _N_BLOCKS
        path = write_big_model(Path(folder), width=_WIDTH, n_blocks=n_blocks, n_heads=_HEADS, numbers=False)
        size_mb = 1e-6 * path.with_name("big.onnx_data").stat().st_size
        modules: list[str] = []
        for number in range(repetitions + 1):
            for case in _CASES:
                measured, used = _measure(path, case.mode, modules)
                modules = sorted({*modules, *used})
                if number > 0:
                    found[case.name].append(measured)
                    rows.append({"kind": "run", "case": case.name, "model_mb": size_mb, **measured})
    return _result(size_mb, found, rows)


def _measure(path: Path, mode: str, modules: list[str]) -> tuple[dict[str, float], list[str]]:
    """Plan, split and save in a fresh process; return its figures and modules, and remove what it wrote."""
    with tempfile.TemporaryDirectory(prefix="out-", dir=path.parent) as target:
        out = path.parent if mode == "beside" else Path(target) / "out"
        command = [sys.executable, "-c", _RUN, str(path), CUT, str(out), mode, json.dumps(modules)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if done.returncode != 0:
            raise RuntimeError(f"a measured process failed with code {done.returncode}: {done.stderr.strip()}")
        for file in (*path.parent.glob("part-*"), path.parent / "plan.json"):
            file.unlink(missing_ok=True)
        measured = json.loads(done.stdout)
        return measured, measured.pop("modules")


def _result(size_mb: float, found: dict[str, list[dict[str, float]]], rows: list[dict[str, object]]) -> Result:
    table = Table(title=f"A model of {size_mb:.0f} MB of weights, 1 cut, {len(rows) // len(_CASES)} runs", box=SIMPLE)
    table.add_column("saved")
    for heading in ("plan s", "split and save s", "together s", "min s", "max s", "peak MB", "written MB"):
        table.add_column(heading, justify="right")
    bars = []
    for case in _CASES:
        runs = found[case.name]
        median = {key: float(np.median([one[key] for one in runs])) for key in runs[0]}
        together = [one["plan_s"] + one["save_s"] for one in runs]
        peak_mb = max(one["peak_mb"] for one in runs)
        table.add_row(
            case.name,
            *(f"{value:.2f}" for value in (median["plan_s"], median["save_s"], float(np.median(together)))),
            *(f"{value:.2f}" for value in (min(together), max(together))),
            f"{peak_mb:.0f}",
            f"{median['written_mb']:.1f}",
        )
        if case.timed:
            bars.append(Bar(f"seconds after imports: {case.name}", float(np.median(together)), TIME_LIMIT_S, "lower"))
        bars.append(Bar(f"peak memory, MB: {case.name}", peak_mb, MEMORY_LIMIT_MB, "lower"))
    notes = (
        "together: loading, layers, costs, the cut, writing and opening the parts, after interpreter start and imports",
        "peak: the largest resident memory of the process, imports included",
    )
    return Result("big", tuple(bars), tuple(rows), (table,), notes)
