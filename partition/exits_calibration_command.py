"""The command ``calibrate-exits``: measure how right and how sure the exits of a model, or of several, are on data."""

from pathlib import Path
from typing import Annotated

import typer

from partition.arguments import DimOption, ForceOption, JsonOption, check_output_file, dims, pairs
from partition.errors import InputError
from partition.terminal import console, show_json, steps

ExitModelsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="MODEL...",
        help="An ONNX file whose outputs are the exits, or several files, from the earliest exit to the last.",
        show_default=False,
    ),
]
ExitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exit",
        metavar="NAME",
        help="An output that is an exit, from the earliest to the last; of several models MODEL=OUTPUT. Repeatable.",
        show_default="all outputs in their order; of several models the first",
    ),
]


def calibrate_exits(
    models: ExitModelsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="New exits file.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder of .npz files: inputs and labels.", show_default=False),
    ] = None,
    exit_name: ExitOption = None,
    labels: Annotated[str, typer.Option(metavar="NAME", help="The array of labels in these files.")] = "label",
    confidence: Annotated[
        str, typer.Option(help="'softmax' for outputs that are logits, 'max' for probabilities.")
    ] = "softmax",
    score: Annotated[
        str, typer.Option(metavar="NAME", help="How right an answer is: top-1, or a function: package.module:name.")
    ] = "top-1",
    accuracy: Annotated[
        list[str] | None,
        typer.Option(
            "--accuracy",
            metavar="EXIT=SHARE",
            help="Instead of --data: what is known of each exit, such as early=0.91; repeatable.",
            show_default="measured",
        ),
    ] = None,
    codecs: Annotated[bool, typer.Option("--codecs", help="Measure codecs too, on what is left behind exits.")] = False,
    codec: Annotated[
        list[str] | None, typer.Option("--codec", help="Only this codec; repeatable.", show_default="all")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--inputs", metavar="N", help="Only the first inputs.", show_default="all")
    ] = None,
    dim: DimOption = None,
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how right and how sure the exits of a model are."""
    from partition.exits.calibrate import calibrate_exits as measure_exits
    from partition.exits.calibrate import given_exits
    from partition.exits.family import ExitFamily
    from partition.exits.table_view import table_view

    if (data is None) == (not accuracy):
        raise InputError("give --data DIR with inputs and labels, or --accuracy of every exit, and not both")
    if accuracy and (codecs or codec or dim or limit is not None):
        raise InputError("--codecs, --codec, --dim and --inputs are for --data; leave them out beside --accuracy")
    if limit is not None and limit < 1:
        raise InputError(f"--inputs is {limit}; give a whole number of 1 or more")
    check_output_file(out, "exits file", force=force)
    with steps(1) as step:
        step.start(f"measuring exits of {models[0].name}" if data is not None else f"reading {models[0].name}")
        family = ExitFamily.of_files(models, exit_name)
        if data is None:
            table = given_exits(family, _shares(accuracy or []), confidence=confidence)
        else:
            table = measure_exits(
                family,
                data,
                labels=labels,
                confidence=confidence,
                score=score,
                codecs=codec or codecs,
                dims=dims(dim),
                limit=limit,
                threads=threads,
                progress=step.share,
            )
    table.save(out)
    if as_json:
        show_json(table.to_json())
    else:
        console().print(table_view(table))
        console().print(f"written: {out} (use it with exits --table)", soft_wrap=True)


def _shares(entries: list[str]) -> dict[str, float]:
    """Read the option ``--accuracy``."""
    found = {}
    for name, text in pairs(entries, "--accuracy").items():
        try:
            found[name] = float(text)
        except ValueError:
            raise InputError(f"--accuracy {name}={text}: '{text}' is not a number; give one from 0 to 1") from None
    return found
