"""The command ``dnn-partition``: a thin layer that reads arguments, calls the library, and prints.

Bad input, and whatever else the system refuses, is one line on stderr and exit code 2; a verification that fails is
exit code 1; Ctrl-C is exit code 130. A reader that goes away (``| head``) ends the command in silence, with 141.
"""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partition import __version__
from partition.arguments import (
    AnnotateOption,
    BandwidthOption,
    CutOption,
    DeviceOption,
    DeviceThreadsOption,
    DimOption,
    DownlinkOption,
    ForceOption,
    GranularityOption,
    HashWeightsOption,
    InputBytesOption,
    InputOption,
    JsonOption,
    LinkWeightsOption,
    MethodOption,
    OutputOnOption,
    RadioOption,
    RttOption,
    ServerLoadOption,
    ServerOption,
    ServerThreadsOption,
    TimingOption,
    VisitsOption,
    check_annotated_copy,
    check_output_file,
    check_timing,
    dims,
    given,
    pairs,
    ranges,
    require_equal,
    visits,
)
from partition.batch_command import batch
from partition.codecs_command import calibrate_codecs
from partition.emulate_command import emulate
from partition.errors import LIBRARY_ERRORS, InputError, VerificationError
from partition.exits_calibration_command import calibrate_exits
from partition.exits_command import exits
from partition.export_command import export
from partition.inspect_command import inspect
from partition.machine_commands import calibrate, profile
from partition.parts_command import parts
from partition.report_command import report
from partition.route_command import route
from partition.run_command import run
from partition.serve_command import serve
from partition.simulate_command import simulate
from partition.terminal import CLOSED_PIPE_CODE, console, drop_output, fail, print_plan, show_json, steps, system_reason

if TYPE_CHECKING:
    from partition.plan import Plan
    from partition.runtime.verify import Verification


app = typer.Typer(
    name="dnn-partition",
    help="Cut an ONNX model between a device and a server: in the provably best place, into files that run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and exit."""
    try:
        code = _run_command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = fail("interrupted", 130)
    except MemoryError:
        code = fail("out of memory; give smaller --dim, or use a machine with more memory", 2)
    except OSError as error:
        drop_output()
        code = CLOSED_PIPE_CODE if isinstance(error, BrokenPipeError) else fail(system_reason(error), 2)
    sys.exit(code)


def _run_command() -> int:
    # Found through a public name: the exceptions' home has moved between releases of typer.
    usage_error: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except VerificationError as error:
        return fail(error, 1)
    except LIBRARY_ERRORS as error:
        return fail(error, 2)
    except usage_error as error:
        message = error.format_message() or "no arguments"
        return fail(f"{message} (see dnn-partition --help)", 2)
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        return fail("interrupted", 130)
    if code == 130:  # what typer makes of Ctrl-C
        return fail("interrupted", 130)
    return code if isinstance(code, int) else 0


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


app.command()(inspect)
app.command()(batch)


@app.command()
def split(
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="An ONNX file, or a workload (.json).", show_default=False)
    ],
    bandwidth: BandwidthOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="New folder for the parts and plan.json, or the own folder of a model with external data; for a "
            "workload, a file.",
            show_default="only plan",
        ),
    ] = None,
    downlink: DownlinkOption = None,
    rtt: RttOption = None,
    device: DeviceOption = "raspberry-pi-4",
    server: ServerOption = "xeon-server",
    objective: Annotated[
        str, typer.Option(help="'latency' or 'energy' (of the device); 'throughput' for a workload.")
    ] = "latency",
    output_on: OutputOnOption = "device",
    cut: CutOption = None,
    max_server_visits: VisitsOption = "1",
    adapt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]LOW..HIGH",
            help="Follow the network while running: range of the bandwidth, such as 1Mbps..50Mbps, or of rtt, "
            "downlink, device_slowdown, server_slowdown; repeatable.",
        ),
    ] = None,
    input_bytes: InputBytesOption = None,
    codecs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What calibrate-codecs wrote: tensors cross in fewer bytes.",
            show_default="as they are",
        ),
    ] = None,
    max_loss: Annotated[float, typer.Option(help="The most that codecs may lose, by the metric of --codecs.")] = 0.01,
    keep_inputs: Annotated[
        bool, typer.Option("--keep-inputs", help="No model input may leave the device; what is computed from it may.")
    ] = False,
    dim: DimOption = None,
    input_file: InputOption = None,
    granularity: GranularityOption = "layer",
    device_threads: DeviceThreadsOption = None,
    server_threads: ServerThreadsOption = None,
    device_load: Annotated[
        str | None,
        typer.Option(help="What other work takes of the device: 30%, or 'now' for this machine.", show_default="0"),
    ] = None,
    server_load: ServerLoadOption = None,
    radio: RadioOption = None,
    method: MethodOption = "auto",
    regression: Annotated[
        str, typer.Option(help="How a calibrated machine predicts; others are published ones, to compare with.")
    ] = "terms-and-process",
    verify: Annotated[bool, typer.Option("--verify", help="Run parts and whole and compare.")] = False,
    timing: TimingOption = False,
    link_weights: LinkWeightsOption = False,
    hash_weights: HashWeightsOption = False,
    accelerators: Annotated[
        int | None, typer.Option(help="How many accelerators (workload only).", show_default="its file's")
    ] = None,
    cpus: Annotated[int | None, typer.Option(help="How many CPUs (workload only).", show_default="its file's")] = None,
    annotate: AnnotateOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find a model's best cut, or split a workload.

    A model is cut between device and server, and -o writes its parts as ONNX files. A workload (.json) is a cost graph
    without a model, split over accelerators and CPUs.
    """
    from partition.workload_command import check_options, is_workload, split_command

    check_timing(timing, verify)
    check_options(context, model, objective, bandwidth)
    if is_workload(model):
        if out is not None:
            check_output_file(out, "placement file", force=force)
        split_command(model, out, accelerators=accelerators, cpus=cpus, as_json=as_json)
        return
    from graph_io import varied_inputs
    from partition.api import partition
    from partition.runtime.files import read_inputs
    from partition.saved import check_output_folder

    check_annotated_copy(annotate, model, force=force)
    if out is not None:
        check_output_folder(out, overwrite=force, model=model)
    inputs = None if input_file is None else read_inputs(input_file)
    verification = None
    start = time.perf_counter()
    with steps(1 + (out is not None) + verify) as step:
        step.start(f"loading and planning {model.name}")
        plan = partition(
            model,
            bandwidth or "",  # checked above
            downlink=downlink,
            rtt=rtt,
            device=device,
            server=server,
            objective=objective,  # type: ignore[arg-type]
            output_on=output_on,  # type: ignore[arg-type]
            cut=cut or None,
            max_server_visits=visits(max_server_visits),
            adapt=ranges(adapt),
            input_bytes=pairs(input_bytes, "--input-bytes"),
            codecs=codecs,
            max_loss=max_loss,
            keep_inputs=keep_inputs,
            threads=given(device=device_threads, server=server_threads),
            load=given(device=device_load, server=server_load),
            radio=radio,
            dims=dims(dim),
            inputs=inputs,
            granularity=granularity,  # type: ignore[arg-type]
            method=method,  # type: ignore[arg-type]
            regression=regression,
        )
        if verify:
            _check_runs_here(plan)
        planned = time.perf_counter()
        if annotate is not None:
            from partition.annotated import write_annotated

            write_annotated(plan.source, annotate, plan=plan)  # type: ignore[arg-type]  # not loaded from a folder
        if out is not None:
            step.start(f"writing {out}")
            plan = plan.save(
                out, overwrite=force, link_weights=link_weights, hash_weights=hash_weights, progress=step.share
            )
        written = time.perf_counter()
        if verify:
            step.start("running parts and whole model")
            # Named here, since a plan that was written no longer holds them.
            trials = None if inputs is None else varied_inputs(inputs)
            verification = plan.verify(inputs=trials, timing=timing)
    times = {"plan_s": planned - start}
    if out is not None:
        times["write_and_open_s"] = written - planned
    if as_json:
        show_json(_plan_json(plan, times, verification))
    else:
        print_plan(plan, out, times, verification)
        if annotate is not None:
            console().print(f"annotated copy: {annotate}", soft_wrap=True)
    require_equal(verification)


def _plan_json(plan: "Plan", times: dict[str, float], verification: "Verification | None") -> dict[str, Any]:
    content = plan.to_json() | {"times": times}
    return content if verification is None else content | {"verification": verification.to_json()}


def _check_runs_here(plan: "Plan") -> None:
    """Refuse, before anything is written, to verify a plan that needs an encoder to run, or only draws at random."""
    from partition.runtime.verify import refuse_draws

    encoded = plan.sent_encoded_input
    if encoded is not None:
        raise InputError(
            f"input '{encoded}' was priced as {plan.encoded_inputs[encoded]} encoded bytes, and this plan sends it; "
            "without its encoder it cannot run here, so leave out --verify or --input-bytes"
        )
    if not isinstance(plan.source, Path):
        refuse_draws(plan.source.graph["model"], plan.model.output_names)


app.command()(run)
app.command()(parts)
app.command()(serve)
app.command()(report)
app.command()(export)
app.command()(profile)
app.command()(calibrate)
app.command("calibrate-codecs")(calibrate_codecs)
app.command("calibrate-exits")(calibrate_exits)
app.command()(exits)
app.command()(emulate)
app.command()(route)
app.command()(simulate)


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to keep the model's parts.", show_default="not kept")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cut AlexNet on Wi-Fi, run the parts, prove them equal."""
    from partition.demo import DEMO_BANDWIDTH, DEMO_MODEL, demo_folder
    from partition.report.table import plan_view
    from partition.saved import check_output_folder

    if out is not None:
        check_output_folder(out, overwrite=force)
    shown = console()
    if not as_json:
        shown.print(f"dnn-partition demo: {DEMO_MODEL} with seeded random weights, link {DEMO_BANDWIDTH}\n")
    with demo_folder(out) as folder, steps(4) as step:
        start = time.perf_counter()
        step.start("building the model")
        from graph_io import light_model

        model = light_model(DEMO_MODEL)
        built = time.perf_counter()
        step.start("planning")
        from partition.api import partition

        plan = partition(model, DEMO_BANDWIDTH)
        planned = time.perf_counter()
        step.start("writing the parts")
        plan = plan.save(folder, overwrite=force)
        times = {"build_s": built - start, "plan_s": planned - built, "write_and_open_s": time.perf_counter() - planned}
        step.start("running parts and whole model")
        verification = plan.verify(model)
    if as_json:
        show_json(_plan_json(plan, times, verification))
    else:
        shown.print(plan_view(plan))
        shown.print(f"\n{verification}")
        kept = f"kept in {out}" if out is not None else "not kept (-o FOLDER keeps them)"
        shown.print(f"parts: {', '.join(part.file for part in plan.parts)}, {kept}", soft_wrap=True)
        shown.print(f"next: {sys.argv[0]} split YOUR_MODEL.onnx --bandwidth 8.8Mbps -o out/", soft_wrap=True)
    require_equal(verification)
