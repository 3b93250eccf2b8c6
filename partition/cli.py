"""The command ``dnn-partition``: a thin layer that reads arguments, calls the library, and prints.

Bad input is one line on stderr and exit code 2; a verification that fails is exit code 1; Ctrl-C is exit code 130.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partition import __version__
from partition.errors import LIBRARY_ERRORS, InputError, VerificationError
from partition.latency.machines import shipped_machines

if TYPE_CHECKING:
    from rich.console import Console

    from partition.plan import Plan

app = typer.Typer(
    name="dnn-partition",
    help="Cut an ONNX model between a device and a server: in the provably best place, into files that run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_MACHINES = ", ".join(shipped_machines())
ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.", show_default=False)]
PlanArgument = Annotated[Path, typer.Argument(metavar="OUT", help="A folder that `split` wrote.", show_default=False)]
DimOption = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="NAME=N", help="Value of a symbolic dimension, such as seq=128; repeatable."),
]
GranularityOption = Annotated[
    str, typer.Option(help="'layer': cut between what the runtime fuses; 'node': between any two nodes.")
]
ThreadsOption = Annotated[int | None, typer.Option(help="Threads of the runtime.", show_default="the runtime's choice")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what an earlier run wrote there.")]


def main() -> None:
    """Run the command line and exit."""
    # Found through a public name: the exceptions' home has moved between releases of typer.
    usage_error: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except VerificationError as error:
        sys.exit(_fail(error, 1))
    except LIBRARY_ERRORS as error:
        sys.exit(_fail(error, 2))
    except usage_error as error:
        message = error.format_message() or "no arguments"
        sys.exit(_fail(f"{message} (see dnn-partition --help)", 2))
    except typer.Exit as leaving:
        sys.exit(leaving.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_fail("interrupted", 130))
    except BrokenPipeError:
        sys.exit(0)
    if code == 130:  # what typer makes of Ctrl-C
        sys.exit(_fail("interrupted", 130))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: object, code: int) -> int:
    text = " ".join(str(error).split())
    print(f"dnn-partition: error: {text}", file=sys.stderr)  # noqa: T201
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dnn-partition {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def inspect(
    model: ModelArgument,
    dim: DimOption = None,
    granularity: GranularityOption = "layer",
    as_json: JsonOption = False,
) -> None:
    """Show a model's layers, their cost features, and where it can be cut."""
    from graph_io import load_graph
    from partition.report.inspection import inspection_json, inspection_view

    with _working(f"loading {model.name}"):
        graph = load_graph(model, dims=_dims(dim), granularity=granularity)  # type: ignore[arg-type]
    _show(inspection_json(graph)) if as_json else _console().print(inspection_view(graph))


@app.command()
def split(
    model: ModelArgument,
    bandwidth: Annotated[
        str,
        typer.Option("--bandwidth", "-b", help="Uplink: 3g, 4g, wifi, or a rate such as 8.8Mbps.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="New folder for the parts and plan.json.", show_default="only plan"),
    ] = None,
    downlink: Annotated[str | None, typer.Option(help="Downlink rate.", show_default="preset's, or as uplink")] = None,
    rtt: Annotated[str | None, typer.Option(help="Round trip, such as 40ms.", show_default="preset's, or 40ms")] = None,
    device: Annotated[str, typer.Option(help=f"Machine or timings file, or one of: {_MACHINES}.")] = "raspberry-pi-4",
    server: Annotated[str, typer.Option(help="The same for the server.")] = "xeon-server",
    objective: Annotated[str, typer.Option(help="'latency' or 'energy' (of the device).")] = "latency",
    output_on: Annotated[str, typer.Option(help="Where the outputs are wanted: device, server or any.")] = "device",
    cut: Annotated[
        list[str] | None, typer.Option(metavar="TENSOR", help="Cut here instead, and compare; repeatable.")
    ] = None,
    input_bytes: Annotated[
        list[str] | None, typer.Option(metavar="INPUT=SIZE", help="Wire size of an encoded input; repeatable.")
    ] = None,
    dim: DimOption = None,
    granularity: GranularityOption = "layer",
    method: Annotated[str, typer.Option(help="Solver: auto, chain, dp or min-cut.")] = "auto",
    verify: Annotated[bool, typer.Option("--verify", help="Run parts and whole on random inputs and compare.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the best cut of a model and write it as ONNX files."""
    from partition.api import partition
    from partition.saved import check_output_folder

    if out is not None:
        check_output_folder(out, overwrite=force)
    start = time.perf_counter()
    with _working(f"planning {model.name}"):
        plan = partition(
            model,
            bandwidth,
            downlink=downlink,
            rtt=rtt,
            device=device,
            server=server,
            objective=objective,  # type: ignore[arg-type]
            output_on=output_on,  # type: ignore[arg-type]
            cut=cut or None,
            input_bytes=_pairs(input_bytes, "--input-bytes"),
            dims=_dims(dim),
            granularity=granularity,  # type: ignore[arg-type]
            method=method,  # type: ignore[arg-type]
        )
    planned = time.perf_counter()
    if out is not None:
        with _working(f"writing {out}"):
            plan = plan.save(out, overwrite=force)
    written = time.perf_counter()
    _report(plan, out, {"plan_s": planned - start, "write_and_open_s": written - planned}, verify, as_json)


def _report(plan: "Plan", out: Path | None, times: dict[str, float], verify: bool, as_json: bool) -> None:
    """Print a plan, its files, and what a verification found."""
    verification = None
    if verify:
        with _working("running parts and whole model"):
            verification = plan.verify()
    if as_json:
        content = plan.to_json() | {"times": times}
        if verification is not None:
            content["verification"] = verification.to_json()
        _show(content)
    else:
        from partition.report.table import format_bytes, plan_view

        console = _console()
        console.print(plan_view(plan))
        console.print(f"\nplanned in {times['plan_s']:.2f} s", end="")
        if out is not None:
            console.print(f"; written and opened in {times['write_and_open_s']:.2f} s:")
            for part in plan.parts:
                console.print(
                    f"  {out / part.file}  {format_bytes(part.file_bytes or 0)}", highlight=False, soft_wrap=True
                )
            console.print(f"  {out / 'plan.json'}", highlight=False, soft_wrap=True)
        else:
            console.print("; nothing written (-o FOLDER writes the parts)")
        if verification is not None:
            console.print(str(verification), style=None if verification.ok else "bold red", highlight=False)
    if verification is not None and not verification.ok:
        raise VerificationError("the parts do not compute what the whole model computes; please report this model")


@app.command()
def run(
    folder: PlanArgument,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", "-i", help=".npz file with one array per input.", show_default="random inputs"),
    ] = None,
    output_file: Annotated[Path | None, typer.Option("--output", help="New .npz file for the outputs.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often to run; the median time is shown.")] = 1,
    verify: Annotated[bool, typer.Option("--verify", help="Compare with the whole model.")] = False,
    model: Annotated[Path | None, typer.Option(help="The whole model, if it has moved.")] = None,
    threads: ThreadsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a saved plan's parts in this process, one after the other."""
    from partition.runtime.files import default_inputs, read_inputs, write_outputs
    from partition.saved import load_plan

    if output_file is not None and output_file.exists() and not force:
        raise InputError(f"output file '{output_file}' exists; choose another, or pass --force")
    with _working(f"opening {folder}"):
        plan = load_plan(folder)
        session = plan.session(threads=threads)
    inputs = read_inputs(input_file) if input_file is not None else default_inputs(plan)
    seconds = []
    with session, _working("running"):
        for _ in range(runs):
            before = time.perf_counter()
            outputs = session.run(inputs)
            seconds.append(time.perf_counter() - before)
    if output_file is not None:
        write_outputs(output_file, outputs)
    verification = None
    if verify:
        with _working("running the whole model"):
            verification = plan.verify(model, inputs=[inputs], threads=threads)
    from partition.report.execution import execution_json, execution_view

    if as_json:
        _show(execution_json(plan, outputs, seconds, verification))
    else:
        _console().print(execution_view(plan, outputs, seconds, verification, random=input_file is None))
    if verification is not None and not verification.ok:
        raise VerificationError("the parts do not compute what the whole model computes; please report this model")


@app.command()
def profile(
    model: ModelArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="New timings file.", show_default="only show")] = None,
    dim: DimOption = None,
    granularity: GranularityOption = "layer",
    threads: ThreadsOption = None,
    name: Annotated[str | None, typer.Option(help="The machine's name.", show_default="its host name")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a model on this machine, layer by layer, and write a timings file."""
    from rich.progress import Progress

    from partition.files import write_json
    from partition.latency.measure import measure
    from partition.report.execution import timings_view

    if out is not None and out.exists() and not force:
        raise InputError(f"timings file '{out}' exists; choose another, or pass --force")
    with Progress(console=_console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"measuring {model.name}", total=1.0)
        timings = measure(
            model,
            dims=_dims(dim),
            granularity=granularity,  # type: ignore[arg-type]
            threads=threads,
            name=name,
            progress=lambda share: bar.update(task, completed=share),
        )
    if out is not None:
        write_json(out, timings.to_json())
    if as_json:
        _show(timings.to_json())
    else:
        _console().print(timings_view(timings))
        if out is not None:
            _console().print(f"written: {out} (use it with --device or --server)", highlight=False, soft_wrap=True)


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to keep the model's parts.", show_default="not kept")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cut AlexNet between a Raspberry Pi 4 and a server on Wi-Fi, write it, run it, and prove it equal."""
    from partition.demo import DEMO_BANDWIDTH, DEMO_MODEL, demo_folder
    from partition.report.table import plan_view
    from partition.saved import check_output_folder

    if out is not None:
        check_output_folder(out, overwrite=force)
    with demo_folder(out) as folder:
        console = _console(stderr=as_json)
        console.print(f"dnn-partition demo: {DEMO_MODEL} with seeded random weights, link {DEMO_BANDWIDTH}\n")
        start = time.perf_counter()
        with _working("building the model"):
            from graph_io import light_model

            model = light_model(DEMO_MODEL)
        built = time.perf_counter()
        with _working("planning"):
            from partition.api import partition

            plan = partition(model, DEMO_BANDWIDTH)
        planned = time.perf_counter()
        with _working("writing the parts"):
            plan = plan.save(folder, overwrite=force)
        times = {"build_s": built - start, "plan_s": planned - built, "write_and_open_s": time.perf_counter() - planned}
        with _working("running parts and whole model"):
            verification = plan.verify(model)
        if as_json:
            _show(plan.to_json() | {"times": times, "verification": verification.to_json()})
        else:
            console.print(plan_view(plan))
            console.print(f"\n{verification}", highlight=False)
            kept = f"kept in {out}" if out is not None else "not kept (-o FOLDER keeps them)"
            console.print(
                f"parts: {', '.join(part.file for part in plan.parts)}, {kept}", highlight=False, soft_wrap=True
            )
            console.print("next: dnn-partition split YOUR_MODEL.onnx --bandwidth 8.8Mbps -o out/", highlight=False)
    if not verification.ok:
        raise VerificationError("the parts do not compute what the whole model computes; please report this")


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr)


@contextmanager
def _working(what: str) -> Iterator[None]:
    """Show what is going on, on stderr and only to a person."""
    with _console(stderr=True).status(f"{what} ..."):
        yield


def _show(content: dict[str, Any]) -> None:
    print(json.dumps(content, indent=2, allow_nan=False))  # noqa: T201


def _pairs(entries: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for entry in entries or ():
        name, separator, value = entry.rpartition("=")
        if not separator or not name or not value:
            raise InputError(f"{option} got '{entry}'; write it as NAME=VALUE")
        pairs[name] = value
    return pairs


def _dims(entries: list[str] | None) -> dict[str, int]:
    dims = {}
    for name, value in _pairs(entries, "--dim").items():
        if not value.isascii() or not value.isdigit():
            raise InputError(f"--dim {name}={value}: '{value}' is not a whole number of 1 or more")
        dims[name] = int(value)
    return dims
