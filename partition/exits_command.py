"""The command ``exits``: choose exits, their thresholds, cut and codecs for a deadline or an accuracy."""

import time
from pathlib import Path
from typing import Annotated

import typer

from partition.arguments import (
    BandwidthOption,
    DeviceThreadsOption,
    DimOption,
    DownlinkOption,
    ForceOption,
    InputBytesOption,
    JsonOption,
    MethodOption,
    OutputOnOption,
    RttOption,
    ServerLoadOption,
    ServerThreadsOption,
    VisitsOption,
    check_output_file,
    dims,
    given,
    pairs,
    visits,
)
from partition.errors import InputError
from partition.exits_calibration_command import ExitModelsArgument, ExitOption
from partition.terminal import console, show_json, steps


def exits(
    models: ExitModelsArgument,
    table: Annotated[
        Path | None, typer.Option("--table", metavar="FILE", help="What calibrate-exits wrote.", show_default=False)
    ] = None,
    bandwidth: BandwidthOption = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The slowest way has to fit, such as 100ms.", show_default="none"),
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="At least this, such as 0.95.", show_default="as good as the deadline allows"
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(metavar="SHARE", help="Of the deadline, kept free for what predictions do not know.")
    ] = 0.1,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="New folder for the policy.", show_default="only choose")
    ] = None,
    downlink: DownlinkOption = None,
    rtt: RttOption = None,
    device: Annotated[
        str, typer.Option(help="Machine, as for split; or the folder with timings of the segments there.")
    ] = "raspberry-pi-4",
    server: Annotated[str, typer.Option(help="The same for the server.")] = "xeon-server",
    output_on: OutputOnOption = "device",
    max_server_visits: VisitsOption = "1",
    input_bytes: InputBytesOption = None,
    keep_inputs: Annotated[
        bool, typer.Option("--keep-inputs", help="No model input may leave the device; what is computed from it may.")
    ] = False,
    dim: DimOption = None,
    device_threads: DeviceThreadsOption = None,
    server_threads: ServerThreadsOption = None,
    device_load: Annotated[
        str | None,
        typer.Option(help="What other work takes of the device: 30%, or 'now' for this machine.", show_default="0"),
    ] = None,
    server_load: ServerLoadOption = None,
    method: MethodOption = "auto",
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="New HTML file with the trade-off curve and the cut.", show_default=False),
    ] = None,
    exit_name: ExitOption = None,
    write_segments: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Only write the models that are left before and behind exits, to be measured by profile.",
            show_default=False,
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose at which exit to stop, and where to cut the rest."""
    if write_segments is not None:
        if out is not None or report is not None:
            raise InputError(
                "--write-segments only writes models, and --out and --report take a policy; leave it out, or these"
            )
        _write_segments(models, exit_name, table, write_segments, dims(dim), force=force, as_json=as_json)
        return
    if exit_name:
        raise InputError("--exit is for --write-segments; else the exits are those of --table")
    if table is None:
        raise InputError("give --table FILE, which calibrate-exits writes (or --write-segments DIR)")
    if bandwidth is None:
        raise InputError("give --bandwidth, such as 8.8Mbps, 3g, 4g or wifi")
    from partition.exits.choice import choose_exit
    from partition.exits.policy_folder import check_policy_folder
    from partition.exits.view import policy_view

    if out is not None:
        check_policy_folder(out, overwrite=force)
    if report is not None:
        check_output_file(report, "report", force=force)
    start = time.perf_counter()
    with steps(1 + (out is not None) + (report is not None)) as step:
        step.start(f"choosing exits of {models[0].name}")
        policy = choose_exit(
            _source(models),
            bandwidth,
            exits=table,
            deadline=deadline,
            accuracy=accuracy,
            margin=margin,
            rtt=rtt,
            downlink=downlink,
            device=device,
            server=server,
            output_on=output_on,  # type: ignore[arg-type]  # checked there
            dims=dims(dim),
            input_bytes=pairs(input_bytes, "--input-bytes"),
            keep_inputs=keep_inputs,
            threads=given(device=device_threads, server=server_threads),
            load=given(device=device_load, server=server_load),
            max_server_visits=visits(max_server_visits),
            method=method,  # type: ignore[arg-type]  # checked there
        )
        times = {"choose_s": time.perf_counter() - start}
        if out is not None:
            step.start(f"writing {out}")
            policy = policy.save(out, overwrite=force)
            times["write_and_open_s"] = time.perf_counter() - start - times["choose_s"]
        if report is not None:
            step.start(f"drawing {report}")
            policy.report(report, overwrite=force)
    if as_json:
        show_json(policy.to_json() | {"plan": policy.plan.to_json(), "times": times})
        return
    shown = console()
    shown.print(policy_view(policy))
    shown.print(f"\nchosen in {times['choose_s']:.2f} s", end="")
    if out is None:
        shown.print("; nothing written (-o FOLDER writes the policy)")
        return
    shown.print(f"; written and opened in {times['write_and_open_s']:.2f} s:")
    for name in (*(head.part.file for head in policy.heads), "rest", policy.manifest):
        shown.print(f"  {out / name}", soft_wrap=True)


def _source(models: list[Path]) -> Path | dict[str, Path]:
    """Return one model, or several by their files' names, as calibrate-exits names their exits."""
    if len(models) == 1:
        return models[0]
    named = {path.stem: path for path in models}
    if len(named) < len(models):
        raise InputError(f"two of the models are called the same: {', '.join(map(str, models))}; rename one")
    return named


def _write_segments(
    models: list[Path],
    exit_names: list[str] | None,
    table: Path | None,
    folder: Path,
    sizes: dict[str, int],
    *,
    force: bool,
    as_json: bool,
) -> None:
    from partition.exits.choice import family_of
    from partition.exits.family import ExitFamily
    from partition.exits.segments import write_segments
    from partition.exits.table import load_exits

    if table is not None and exit_names:
        raise InputError("--table names the exits already; leave out --exit, or --table")
    with steps(1) as step:
        step.start(f"writing {folder}")
        if table is None:
            family = ExitFamily.of_files(models, exit_names)
        else:
            family = family_of(_source(models), load_exits(table))
        files = write_segments(family, folder, dims=sizes, overwrite=force, progress=step.share)
    if as_json:
        show_json({"segments": [str(file) for file in files]})
        return
    shown = console()
    shown.print(f"{len(files)} segments written; measure each on both machines (dnn-partition profile), and give the")
    shown.print("folders of these timings with --device and --server:")
    for file in files:
        shown.print(f"  {file}", soft_wrap=True)
