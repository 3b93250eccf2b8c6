"""The command ``calibrate-codecs``: measure what codecs of crossing tensors cost and lose on a model and its data."""

from pathlib import Path
from typing import Annotated

import typer

from partition.arguments import (
    DimOption,
    ForceOption,
    GranularityOption,
    JsonOption,
    ModelArgument,
    check_output_file,
    dims,
)
from partition.errors import InputError
from partition.terminal import console, show_json, steps


def calibrate_codecs(
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="New codecs file.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder of .npz files with the model's inputs.", show_default=False),
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="Random inputs instead; the losses are then not those of real ones.")
    ] = False,
    codec: Annotated[
        list[str] | None, typer.Option("--codec", help="Only this codec; repeatable.", show_default="all")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="max-relative-error, mean-absolute-error, top-1, or a function: package.module:name."
        ),
    ] = "max-relative-error",
    tensor: Annotated[
        list[str] | None,
        typer.Option("--tensor", help="Only this tensor; repeatable.", show_default="cuts of one tensor"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All tensors between layers.")] = False,
    most: Annotated[int, typer.Option("--max-tensors", metavar="N", help="The smallest, of more than these.")] = 32,
    limit: Annotated[
        int | None, typer.Option("--inputs", metavar="N", help="Only the first inputs.", show_default="all")
    ] = None,
    dim: DimOption = None,
    granularity: GranularityOption = "layer",
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what codecs cost and lose on a model."""
    from partition.codecs.measure import calibrate_codecs as measure_codecs
    from partition.codecs.view import table_view

    if (data is None) == (not random):
        raise InputError("give --data DIR with the model's inputs, or --random, and not both")
    if every and tensor:
        raise InputError("--tensor names some tensors and --all takes every one; leave one of them out")
    for option, number in (("--max-tensors", most), ("--inputs", limit)):
        if number is not None and number < 1:
            raise InputError(f"{option} is {number}; give a whole number of 1 or more")
    check_output_file(out, "codecs file", force=force)
    with steps(1) as step:
        step.start(f"measuring codecs of {model.name}")
        table = measure_codecs(
            model,
            "random" if data is None else data,
            codecs=codec,
            metric=metric,
            tensors=tensor or ("all" if every else "cuts"),
            max_tensors=most,
            limit=limit,
            dims=dims(dim),
            granularity=granularity,  # type: ignore[arg-type]
            threads=threads,
            progress=step.share,
        )
    table.save(out)
    if as_json:
        show_json(table.to_json())
    else:
        console().print(table_view(table))
        console().print(f"written: {out} (use it with split --codecs)", soft_wrap=True)
