"""Builds the pages of the API reference from the docstrings: ``python docs/reference/build.py FOLDER``; needs pdoc."""

import importlib
import sys
import warnings
from pathlib import Path

PACKAGES = ("partition", "graph_io", "solvers")

MODULES = {
    "partition.batch": None,
    "partition.emulation.clock": ("Clock", "RealClock", "VirtualClock"),
    "partition.emulation.device": ("SlowDevice", "pinned"),
    "partition.emulation.link": ("EmulatedLink",),
    "partition.emulation.profile": ("RateProfile",),
    "partition.emulation.proxy": ("Proxy",),
    "partition.emulation.traces": ("read_trace",),
    "partition.energy.radio": ("power_over_radio",),
    "partition.export.triton": ("TritonExport", "export_triton"),
    "partition.latency.timings": ("LayerTiming", "MeasuredModel", "MeasuredRuntime", "WholeModelTiming"),
    "partition.problem": ("Bridge", "build_bridge"),
    "partition.routing.length_models": ("fit_length_model",),
    "partition.routing.outcome": ("policy_table",),
    "partition.routing.profiles": ("round_trips",),
    "partition.routing.simulator": ("compare",),
    "partition.serve": None,
    "solvers.milp": ("milp_pipeline", "milp_within", "solve_milp"),
}
"""What else the pages of docs/ import, and from where; None for all of the module's ``__all__``."""


def public_names() -> dict[str, tuple[str, ...]]:
    """Return what the reference tells of, by module."""
    listed = {name: importlib.import_module(name).__all__ for name in PACKAGES}
    more = {name: names or importlib.import_module(name).__all__ for name, names in MODULES.items()}
    return {name: tuple(names) for name, names in (listed | more).items()}


def build(folder: Path) -> None:
    """Write the pages into a folder; what lies there under the same names is replaced."""
    import pdoc

    # Names that are imported for type checkers alone; pdoc then shows the annotation as it is written.
    warnings.filterwarnings("ignore", message="Error parsing type annotation")
    public = public_names()
    for name, names in public.items():
        importlib.import_module(name).__all__ = list(names)  # type: ignore[attr-defined]
    pdoc.render.configure(docformat="numpy", show_source=False, template_directory=Path(__file__).parent)
    # `solvers.solve` is a function, and its module has the same name.
    pdoc.pdoc(*public, "!solvers.solve", output_directory=folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} FOLDER")
    build(Path(sys.argv[1]))
