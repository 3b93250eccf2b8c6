"""The commands that measure this machine: ``profile`` one model, ``calibrate`` once for all."""

from pathlib import Path
from typing import Annotated

import typer

from partition.arguments import (
    DimOption,
    ForceOption,
    GranularityOption,
    InputOption,
    JsonOption,
    ModelArgument,
    NameOption,
    ProviderOption,
    ThreadsOption,
    check_output_file,
    dims,
    length_range,
)
from partition.errors import InputError
from partition.terminal import console, show_json, steps, warn
from partition.units import parse_duration


def profile(
    model: ModelArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="New timings file.", show_default="only show")] = None,
    dim: DimOption = None,
    input_file: InputOption = None,
    granularity: GranularityOption = "layer",
    threads: ThreadsOption = None,
    provider: ProviderOption = "CPUExecutionProvider",
    pause: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Rest before each run, such as 40ms: requests that come apart find cold caches."
        ),
    ] = "0s",
    name: NameOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a model on this machine, layer by layer.

    With a range, --dim seq=1..512, over the lengths of its input.
    """
    from partition.files import write_json
    from partition.latency.measure import measure
    from partition.latency.timings import spread_notes
    from partition.report.execution import timings_view
    from partition.runtime.files import read_inputs

    if name is not None and not name.strip():
        raise InputError(f"--name is {name!r}; give a name, or leave it out for the host's")
    pause_s = parse_duration(pause, what="--pause")
    if out is not None:
        check_output_file(out, "timings file", force=force)
    lengths = length_range(dim)
    if lengths is not None:
        from partition.lengths_command import profile_lengths

        if input_file is not None:
            raise InputError("--input is of one length, and --dim gives a range; leave one of them out")
        profile_lengths(
            model,
            lengths,
            out,
            granularity=granularity,
            threads=threads,
            provider=provider,
            name=name,
            pause_s=pause_s,
            as_json=as_json,
        )
        return
    with steps(1) as step:
        step.start(f"measuring {model.name}")
        timings = measure(
            model,
            dims=dims(dim),
            inputs=None if input_file is None else read_inputs(input_file),
            granularity=granularity,  # type: ignore[arg-type]
            threads=threads,
            provider=provider,
            name=name,
            pause_s=pause_s,
            progress=step.share,
        )
    if out is not None:
        write_json(out, timings.to_json())
    for doubt in spread_notes(timings.whole_model.spread_s / timings.whole_model.latency_s):
        warn(doubt)
    if as_json:
        show_json(timings.to_json())
    else:
        console().print(timings_view(timings))
        if out is not None:
            console().print(f"written: {out} (use it with --device or --server)", soft_wrap=True)


def calibrate(
    out: Annotated[Path, typer.Option("--out", "-o", help="New machine file.", show_default=False)],
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute, and less sure.")] = False,
    share: Annotated[
        float | None, typer.Option(help="Of the layers to time, above 0, at most 1.", show_default="all, or a tenth")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(help="Of the runtime; repeatable.", show_default="1 and all processors")
    ] = None,
    provider: ProviderOption = "CPUExecutionProvider",
    load: Annotated[bool, typer.Option(help="Also measure how other work slows this machine down.")] = True,
    name: NameOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure this machine once, to predict any model on it.

    Takes under ten minutes and wants a machine at rest. What is finished stays beside the output file until it is
    complete: after Ctrl-C the same command goes on.
    """
    from partition.calibration_command import calibrate_command

    if name is not None and not name.strip():
        raise InputError(f"--name is {name!r}; give a name, or leave it out for the host's")
    check_output_file(out, "machine file", force=force)
    calibrate_command(
        out, quick=quick, share=share, threads=threads, provider=provider, load=load, name=name, as_json=as_json
    )
