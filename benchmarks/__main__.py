"""``python -m benchmarks NAME``: run one benchmark, print its table, write its JSON.

The exit code is 0 whether the promised figures hold or not, and 2 with one line on stderr for bad arguments.
"""

import argparse
import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from benchmarks.result import bars_table
from benchmarks.settings import Settings
from graph_io import LIGHT_MODELS
from partition.latency.machines import load_machine

BENCHMARKS = {
    "emit": "what splitting costs: parts against the whole model, and the command against loading the model",
    "accuracy": "predicted costs against the clock: measured, predicted, under load, and the cuts that follow",
    "batch": "the whole zoo x links x pairs of machines as one table: rows per second, and two workers against one",
    "big": "what planning and splitting a model of 2.3 GB costs in time and memory",
    "codecs": "tensors that cross in fewer bytes: codecs against memcpy and zstd, latency against accuracy and error",
    "exits": "early exits chosen with the cut: deadlines, accuracy on new images, Edgent's rule beside them",
    "loading": "what load_graph costs against loading, shapes and opening, and how it grows with the nodes",
    "report": "what the report of a plan costs in time and size, for ResNet-50 and for a graph of 5,000 layers",
    "routing": "which machine runs which input: published set-ups, oracle, curves over length, break-evens",
    "runtime": "plans on two machines: emulated links and traces, streams, busy servers, faults, many clients",
    "solvers": "what finding the best placement costs, against minimum-cut libraries and HiGHS",
    "neurosurgeon": "eight networks on simulated machines: the paper's tables of choices, gains, conditions",
    "wang": "networks with branches cut inside their blocks, simulated; every network of the zoo cut and verified",
    "dads": "light and heavy load against its own minimum cut, simulated; how the cut moves with the bandwidth",
}
# Modules that a benchmark needs beyond the library's own.
EXTRAS = {"exits": ("sklearn", "threadpoolctl"), "solvers": ("maxflow", "igraph", "ortools")}
PAPERS = ("neurosurgeon", "wang", "dads")
SECTIONED = (*PAPERS, "accuracy", "batch", "codecs", "exits", "routing", "runtime", "solvers")
NAME_WIDTH = max(map(len, BENCHMARKS)) + 2
# Columns, where no terminal says.
WIDTH = 140


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"benchmarks: error: {message} (see python -m benchmarks --help)", file=sys.stderr)
        sys.exit(2)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that the arguments name; without a name, list what there is."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.name is None:
        print("\n".join(f"{name:<{NAME_WIDTH}}{what}" for name, what in BENCHMARKS.items()))
        return 0
    if given.name not in BENCHMARKS:
        parser.error(f"benchmark '{given.name}' does not exist; the names are {', '.join(BENCHMARKS)}")
    target: Path | None = given.json
    if target is not None and (target.is_dir() or not target.parent.is_dir()):
        parser.error(f"'{target}' cannot be written: it is a folder, or its folder does not exist")
    if given.cache is not None and given.cache.exists() and not given.cache.is_dir():
        parser.error(f"--cache '{given.cache}' is not a folder")
    if given.workloads is not None and not given.workloads.is_dir():
        parser.error(f"--workloads '{given.workloads}' is not a folder")
    if given.traces is not None and not given.traces.is_dir():
        parser.error(f"--traces '{given.traces}' is not a folder")
    _check_models(parser, given)
    _check_sections(parser, given)
    missing = [module for module in EXTRAS.get(given.name, ()) if find_spec(module) is None]
    if missing:
        parser.error(
            f"benchmark '{given.name}' needs {', '.join(missing)}; install the extra: pip install -e '.[bench]'"
        )
    settings = Settings(
        given.quick,
        given.cache,
        given.models,
        given.repetitions,
        given.workloads,
        given.only,
        given.machine,
        given.traces,
    )
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    result = import_module(f"benchmarks.{given.name}").run(settings)
    for table in (*result.tables, bars_table(result.bars)):
        console.print(table)
    for note in result.notes:
        console.print(note, highlight=False)
    if target is not None:
        target.write_text(json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return 0


def _parser() -> _Parser:
    names = "\n".join(f"  {name:<{NAME_WIDTH}}{what}" for name, what in BENCHMARKS.items())
    parser = _Parser(
        prog="python -m benchmarks",
        description=f"Measure what this library promises.\n\nbenchmarks:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="which benchmark; left out, the names are listed")
    parser.add_argument("--quick", action="store_true", help="fewer models, cuts and repetitions: within a minute")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the result there, replacing the file")
    parser.add_argument(
        "--cache", metavar="DIR", type=Path, help="keep the models there (1.5 GB); else they are built and removed"
    )
    parser.add_argument("--models", metavar="A,B", type=_names, help="only these light models, or networks of the zoo")
    parser.add_argument("--repetitions", metavar="N", type=_repetitions, help="instead of as many as time allows")
    parser.add_argument(
        "--workloads", metavar="DIR", type=Path, help="cost graphs with known optima, for the benchmark solvers"
    )
    parser.add_argument(
        "--machine",
        metavar="FILE",
        type=Path,
        help="this machine's calibration, for the benchmarks accuracy and exits; else made now. "
        "Of the papers: the device's CPU",
    )
    parser.add_argument("--traces", metavar="DIR", type=Path, help="recorded rates of links, for the benchmark runtime")
    sections = "; ".join(f"{name}: {', '.join(import_module(f'benchmarks.{name}').SECTIONS)}" for name in SECTIONED)
    parser.add_argument("--only", metavar="A,B", type=_names, help=f"only these sections. {sections}")
    return parser


def _check_sections(parser: _Parser, given: argparse.Namespace) -> None:
    for option, names in (
        ("only", SECTIONED),
        ("workloads", ("solvers",)),
        ("machine", ("accuracy", "exits", *PAPERS)),
        ("traces", ("runtime",)),
    ):
        if getattr(given, option) is not None and given.name not in names:
            parser.error(f"--{option} is for the benchmark {', '.join(names)}, not for '{given.name}'")
    if given.machine is not None:
        try:
            if given.name in PAPERS:
                load_machine(given.machine)
            else:
                import_module("benchmarks.accuracy.machine").calibrated_machine(given.machine, given.quick)
        except ValueError as error:
            parser.error(f"--machine: {error}")
    if given.only is None:
        return
    sections = import_module(f"benchmarks.{given.name}").SECTIONS
    unknown = next((name for name in given.only if name not in sections), None)
    if unknown is not None:
        parser.error(f"section '{unknown}' does not exist; the sections are {', '.join(sections)}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split(",")))


def _check_models(parser: _Parser, given: argparse.Namespace) -> None:
    known, what = tuple(LIGHT_MODELS), "light model"
    if given.name == "accuracy":
        known, what = (*import_module("benchmarks.zoo").NETWORKS, *known), "network"
    elif given.name in ("batch", "codecs", *PAPERS):
        known, what = tuple(import_module("benchmarks.zoo").NETWORKS), "network"
    unknown = next((name for name in given.models or () if name not in known), None)
    if unknown is not None:
        parser.error(f"{what} '{unknown}' does not exist; use {', '.join(known)}")


def _repetitions(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("benchmarks: error: interrupted", file=sys.stderr)
        sys.exit(130)
