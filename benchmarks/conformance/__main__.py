"""``python -m benchmarks.conformance``: all of it against Triton's own client and server, or the reason why not.

The exit code is 0 whether all holds or not, and 2 for bad arguments.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.conformance import checks
from benchmarks.conformance.checks import Check, Driver, driver
from benchmarks.conformance.environments import CLIENT, SERVER, Environment, Skipped, environment
from benchmarks.conformance.models import Saved, save_echo, save_models, save_without_dimensions
from benchmarks.conformance.overhead import measure_overhead
from benchmarks.conformance.servers import echo_server, our_server, triton_server
from benchmarks.result import Bar, Result, bars_table, machine
from benchmarks.section import Section, table
from partition.export.triton import export_triton
from partition.model_parts import load_parts
from partition.v2.names import stage_interface

OURS, TRITON = "ours", "Triton"
STEPS = ("server", "configurations", "triton", "overhead")
_WIDTH = 150


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps that the arguments name."""
    given = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dnn-partition-conformance-") as temporary:
        home = Path(temporary) if given.work is None else given.work
        home.mkdir(parents=True, exist_ok=True)
        result = _run(home, Path(temporary), given.only or STEPS, quick=given.quick)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    for one in (*result.tables, bars_table(result.bars)):
        console.print(one)
    for note in result.notes:
        console.print(note, highlight=False)
    if given.json is not None:
        given.json.write_text(json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance", description=__doc__, allow_abbrev=False)
    parser.add_argument("--work", metavar="DIR", type=Path, help="keep the environments there (0.7 GB); else temporary")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the result there, replacing the file")
    parser.add_argument("--quick", action="store_true", help="a fifth of the timings")
    parser.add_argument("--only", type=_steps, metavar="A,B", help=f"only these steps: {', '.join(STEPS)}")
    return parser


def _steps(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = next((name for name in names if name not in STEPS), None)
    if unknown is not None:
        raise argparse.ArgumentTypeError(f"step '{unknown}' does not exist; the steps are {', '.join(STEPS)}")
    return names


def _run(home: Path, work: Path, steps: Sequence[str], *, quick: bool) -> Result:
    saved = save_models(work)
    found: list[Check] = []
    notes: list[str] = []
    overhead = Section((), (), ())
    client = _environment(home / "client", CLIENT, "tritonclient", notes)
    server = None
    if {"triton", "overhead"} & set(steps):
        server = _environment(home / "server", SERVER, "a real Triton", notes)
    if client is not None:
        with driver(client) as asked:
            if "server" in steps:
                with our_server([one.folder for one in saved]) as url:
                    found += checks.by_tritonclient(asked, OURS, url, saved, work)
                    found += checks.by_our_sessions(OURS, url, saved)
            if "configurations" in steps:
                found += checks.of_configurations(asked, _exported(saved, work / "parsed"), saved)
            if server is not None:
                try:
                    if "triton" in steps:
                        found += _with_triton(asked, server, saved, work)
                    if "overhead" in steps:
                        overhead = _overhead(asked, server, work, notes, quick=quick)
                except Skipped as reason:
                    notes.append(f"skipped, what needs a real Triton: {reason}")
    versions = {one.folder.name: one.versions() for one in (client, server) if one is not None}
    return _result(found, overhead, notes, versions)


def _environment(folder: Path, packages: tuple[str, ...], what: str, notes: list[str]) -> Environment | None:
    try:
        return environment(folder, packages)
    except Skipped as reason:
        notes.append(f"skipped, what needs {what}: {reason}")
        return None


def _exported(saved: Sequence[Saved], folder: Path) -> list[Path]:
    """Export everything for both backends."""
    made = []
    for backend in ("onnxruntime", "python"):
        for one in saved:
            target = folder / f"{backend}-{one.folder.name}"
            export_triton(one.folder, target, backend=backend, threads=1)
            made.append(target)
    return made


def _with_triton(asked: Driver, server: Environment, saved: Sequence[Saved], work: Path) -> list[Check]:
    """Run the exported repositories in a real Triton, and ask it by both clients."""
    number = save_without_dimensions(work)
    python = [path for path in _exported((*saved, number), work / "run") if path.name.startswith("python-")]
    found = []
    with triton_server(server, python, work) as url:
        found += checks.by_tritonclient(asked, TRITON, url, saved, work)
        found += checks.by_our_sessions(TRITON, url, (*saved, number))
        found += checks.by_our_client(TRITON, url, saved)
    adaptive = saved[-1]
    ensembles = work / "ensembles"
    checks.in_python_backend(work / "run" / f"onnxruntime-{adaptive.folder.name}", ensembles)
    with triton_server(server, [ensembles], work) as url:
        found += checks.by_our_client(f"{TRITON}, ensembles", url, [adaptive])
    return found


def _overhead(asked: Driver, server: Environment, work: Path, notes: list[str], *, quick: bool) -> Section:
    folder = save_echo(work)
    repository = export_triton(folder, work / "echoing", backend="python", threads=1).folder
    stage = stage_interface(load_parts(folder), [1])
    bare = replace(stage, name="bare")
    _make_bare(repository / stage.name, work / "bare")
    with (
        our_server([folder]) as ours,
        triton_server(server, [repository, work / "bare"], work) as triton,
        echo_server() as echo,
    ):
        with urllib.request.urlopen(f"{triton}/v2", timeout=10) as answer:
            version = json.load(answer)["version"]
        notes.append(f"Triton {version}; 'no runtime' is a program that returns its input, in its python backend")
        notes.append(f"load of the machine before the timings: {os.getloadavg()[0]:.1f} (0 is a machine at rest)")
        return measure_overhead(stage, bare, ours=ours, triton=triton, echo=echo, asked=asked, quick=quick)


def _make_bare(exported: Path, repository: Path) -> None:
    """Write the least model of the same tensors that there is in Triton's python backend."""
    text = (exported / "config.pbtxt").read_text(encoding="ascii").replace(f'name: "{exported.name}"', 'name: "bare"')
    (repository / "bare" / "1").mkdir(parents=True)
    (repository / "bare" / "config.pbtxt").write_text(text, encoding="ascii")
    shutil.copy(Path(__file__).with_name("bare_model.py"), repository / "bare" / "1" / "model.py")


def _summary(found: list[Check]) -> list[list[str]]:
    """Return a line for each subject, server and client, and one for each check that does not hold."""
    lines = []
    groups: dict[tuple[str, str, str], list[Check]] = {}
    for one in found:
        groups.setdefault((one["what"].partition(":")[0], one["server"], one["client"]), []).append(one)
    for (subject, server, client), checks_of_it in groups.items():
        wrong = [one for one in checks_of_it if not one["ok"]]
        lines.append([subject, server, client, str(len(checks_of_it)), "NO" if wrong else "yes"])
        lines += [[f"  {one['what']}", "", "", "", one["reason"][:60]] for one in wrong]
    return lines


def _result(found: list[Check], overhead: Section, notes: list[str], versions: dict[str, dict[str, str]]) -> Result:
    bars = [*overhead.bars]
    tables = [*overhead.tables]
    if found:
        wrong = sum(not one["ok"] for one in found)
        bars.insert(0, Bar(f"of {len(found)} checks, those that fail", wrong, 0, "lower"))
        tables.insert(0, table("Conformance", ["what", "server", "client", "checks", "hold"], _summary(found)))
    host: dict[str, Any] = machine()
    told = ", ".join(f"{key} {value}" for key, value in host.items() if key not in ("date", "processor", "cores"))
    notes = [*notes, f"{host['date']}, {host['processor']}, {host['cores']} cores; {told}"]
    notes += [
        f"environment '{name}': {', '.join(f'{a} {b}' for a, b in one.items())}" for name, one in versions.items()
    ]
    rows = (*found, *overhead.rows, *({"kind": "environment", "name": name, **one} for name, one in versions.items()))
    rows += tuple({"kind": "note", "text": note} for note in notes)
    return Result("conformance", tuple(bars), rows, tuple(tables), tuple(notes))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("conformance: error: interrupted", file=sys.stderr)
        sys.exit(130)
