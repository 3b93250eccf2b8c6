"""The command ``report``: a plan as one HTML file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partition.arguments import (
    BandwidthOption,
    CutOption,
    DeviceOption,
    DeviceThreadsOption,
    DimOption,
    DownlinkOption,
    ForceOption,
    GranularityOption,
    InputBytesOption,
    InputOption,
    JsonOption,
    MethodOption,
    OutputOnOption,
    RadioOption,
    RttOption,
    ServerLoadOption,
    ServerOption,
    ServerThreadsOption,
    VisitsOption,
    check_output_file,
    dims,
    given,
    pairs,
    ranges,
    visits,
)
from partition.errors import InputError
from partition.exits.policy import is_policy_folder
from partition.terminal import console, show_json, steps

if TYPE_CHECKING:
    from partition.plan import Plan


_NOT_PLANNING = ("model", "out", "run_file", "force", "as_json", "help")


def report(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL|OUT",
            help="An ONNX file, or a folder that `split` wrote; that holds less to show.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New HTML file.")] = Path("report.html"),
    bandwidth: BandwidthOption = None,
    downlink: DownlinkOption = None,
    rtt: RttOption = None,
    device: DeviceOption = "raspberry-pi-4",
    server: ServerOption = "xeon-server",
    objective: Annotated[str, typer.Option(help="'latency' or 'energy' (of the device).")] = "latency",
    output_on: OutputOnOption = "device",
    cut: CutOption = None,
    max_server_visits: VisitsOption = "1",
    adapt: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]LOW..HIGH", help="Follow these conditions, as with `split`; repeatable."),
    ] = None,
    input_bytes: InputBytesOption = None,
    keep_inputs: Annotated[bool, typer.Option("--keep-inputs", help="No model input may leave the device.")] = False,
    dim: DimOption = None,
    input_file: InputOption = None,
    granularity: GranularityOption = "layer",
    device_threads: DeviceThreadsOption = None,
    server_threads: ServerThreadsOption = None,
    device_load: Annotated[
        str | None, typer.Option(help="What other work takes of the device: 30%, or 'now'.", show_default="0")
    ] = None,
    server_load: ServerLoadOption = None,
    radio: RadioOption = None,
    method: MethodOption = "auto",
    run_file: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="FILE", help="What `run --json` printed for this plan: shown beside the prediction."
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show in one HTML file why a cut was chosen.

    A model is planned as `split` does it, with the same options. A folder of `split` or `exits` takes none of them.
    """
    from partition.report.page.run_file import read_run

    check_output_file(out, "report", force=force)
    measured = None if run_file is None else read_run(run_file)
    if is_policy_folder(model):
        _refuse_planning(context, model)
        if run_file is not None:
            raise InputError(f"--run is for the report of a plan, and '{model}' holds a policy of exits; leave it out")
        _report_policy(model, out, force=force, as_json=as_json)
        return
    start = time.perf_counter()
    with steps(2) as step:
        if model.is_dir():
            _refuse_planning(context, model)
            step.start(f"reading {model}")
            plan = _saved_plan(model)
        else:
            if bandwidth is None:
                raise InputError("a report of a model needs --bandwidth: 3g, 4g, wifi, or a rate such as 8.8Mbps")
            step.start(f"loading and planning {model.name}")
            from partition.api import partition
            from partition.runtime.files import read_inputs

            plan = partition(
                model,
                bandwidth,
                downlink=downlink,
                rtt=rtt,
                device=device,
                server=server,
                objective=objective,  # type: ignore[arg-type]  # checked there
                output_on=output_on,  # type: ignore[arg-type]
                cut=cut or None,
                max_server_visits=visits(max_server_visits),
                adapt=ranges(adapt),
                input_bytes=pairs(input_bytes, "--input-bytes"),
                keep_inputs=keep_inputs,
                dims=dims(dim),
                inputs=None if input_file is None else read_inputs(input_file),
                granularity=granularity,  # type: ignore[arg-type]
                threads=given(device=device_threads, server=server_threads),
                load=given(device=device_load, server=server_load),
                radio=radio,
                method=method,  # type: ignore[arg-type]
            )
        planned = time.perf_counter()
        step.start(f"drawing {out}")
        plan.report(out, measured=measured, overwrite=force)
    drawn = time.perf_counter()
    size_bytes = out.stat().st_size
    if as_json:
        times = {"plan_s": planned - start, "report_s": drawn - planned}
        show_json({"report": str(out), "size_bytes": size_bytes, "times": times, "plan": plan.to_json()})
        return
    from partition.report.page.document import sentence
    from partition.report.table import format_bytes

    console().print(sentence(plan), soft_wrap=True, markup=False, highlight=False)
    console().print(
        f"report: {out}, {format_bytes(size_bytes)}, drawn in {drawn - planned:.2f} s", soft_wrap=True, markup=False
    )


def _report_policy(folder: Path, out: Path, *, force: bool, as_json: bool) -> None:
    from partition.exits.policy import load_exit_policy
    from partition.exits.view import sentence
    from partition.report.table import format_bytes

    with steps(2) as step:
        step.start(f"reading {folder}")
        policy = load_exit_policy(folder)
        step.start(f"drawing {out}")
        policy.report(out, overwrite=force)
    size_bytes = out.stat().st_size
    if as_json:
        show_json({"report": str(out), "size_bytes": size_bytes, "policy": policy.to_json()})
        return
    console().print(sentence(policy), soft_wrap=True, markup=False, highlight=False)
    console().print(f"report: {out}, {format_bytes(size_bytes)}", soft_wrap=True, markup=False)


def _refuse_planning(context: typer.Context, folder: Path) -> None:
    """Refuse options that would plan, where the plan is given: it would not heed them."""
    command: Any = context.command
    for one in command.params:
        source: Any = context.get_parameter_source(one.name)
        if one.name not in _NOT_PLANNING and source.name != "DEFAULT":
            raise InputError(
                f"{max(one.opts, key=len)} belongs to planning a model, and '{folder}' is a plan already; leave it "
                "out, or give the model"
            )


def _saved_plan(folder: Path) -> "Plan":
    from partition.model_parts import ModelParts
    from partition.saved import load_saved

    plan = load_saved(folder)
    if isinstance(plan, ModelParts):
        raise InputError(f"parts ('{folder}') say nothing of machines and a link, so there is no plan to report on")
    return plan
