"""The command ``dnn-partition parts``: a model in as many parts as one likes, cut where one says."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partition.arguments import (
    DimOption,
    ForceOption,
    GranularityOption,
    HashWeightsOption,
    InputOption,
    JsonOption,
    LinkWeightsOption,
    ModelArgument,
    dims,
)
from partition.errors import VerificationError
from partition.terminal import console, show_json, steps

if TYPE_CHECKING:
    from graph_io import LayerGraph


def parts(
    model: ModelArgument,
    at: Annotated[
        list[str],
        typer.Option(
            "--at", metavar="TENSOR[,TENSOR]", help="Cut here; repeat it for more parts, each time one whole cut."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="New folder for the parts and parts.json, or the own folder of a model with external data.",
            show_default="nothing written",
        ),
    ] = None,
    dim: DimOption = None,
    input_file: InputOption = None,
    granularity: GranularityOption = "layer",
    verify: Annotated[bool, typer.Option("--verify", help="Run parts and whole and compare.")] = False,
    link_weights: LinkWeightsOption = False,
    hash_weights: HashWeightsOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cut a model into parts where you choose."""
    from graph_io import load_graph, varied_inputs
    from partition.model_parts import split_model
    from partition.report.parts import parts_view
    from partition.runtime.files import read_inputs
    from partition.runtime.verify import refuse_draws
    from partition.saved import check_output_folder

    if out is not None:
        check_output_folder(out, overwrite=force, model=model)
    inputs = None if input_file is None else read_inputs(input_file)
    verification = None
    start = time.perf_counter()
    with steps(1 + (out is not None) + verify) as step:
        step.start(f"loading and cutting {model.name}")
        graph = load_graph(model, dims=dims(dim), inputs=inputs, granularity=granularity)  # type: ignore[arg-type]
        made = split_model(graph, [_cut(graph, text) for text in at])
        if verify:
            refuse_draws(graph.graph["model"], made.model.output_names)
        if out is not None:
            step.start(f"writing {out}")
            made = made.save(
                out, overwrite=force, link_weights=link_weights, hash_weights=hash_weights, progress=step.share
            )
        seconds = time.perf_counter() - start
        if verify:
            step.start("running parts and whole model")
            verification = made.verify(inputs=None if inputs is None else varied_inputs(inputs))
    if as_json:
        content = made.to_json() | {"times": {"cut_s": seconds}}
        show_json(content if verification is None else content | {"verification": verification.to_json()})
    else:
        shown = console()
        shown.print(parts_view(made))
        wrote = f"written to {out}" if out is not None else "nothing written (-o FOLDER writes the parts)"
        shown.print(f"\ncut in {seconds:.2f} s; {wrote}", soft_wrap=True)
        if verification is not None:
            shown.print(str(verification), style=None if verification.ok else "bold red")
    if verification is not None and not verification.ok:
        raise VerificationError("the parts do not compute what the whole model computes; please report this model")


def _cut(graph: "LayerGraph", text: str) -> list[str]:
    """Read one option: a tensor whose name it is, commas included, or several with commas between them."""
    return [text] if text in graph.graph["tensors"] else [name.strip() for name in text.split(",")]
