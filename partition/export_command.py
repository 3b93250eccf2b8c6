"""The command ``dnn-partition export``: the server's stages of a plan as a model repository for Triton."""

from pathlib import Path
from typing import Annotated

import typer

from partition.arguments import ForceOption, JsonOption, PlanArgument
from partition.terminal import console, show_json, steps


def export(
    out: PlanArgument,
    triton: Annotated[
        Path, typer.Option("--triton", metavar="DIR", help="New folder for the repository.", show_default=False)
    ],
    backend: Annotated[
        str,
        typer.Option(help="Of Triton: 'onnxruntime'; or 'python', which needs NumPy and onnxruntime in its Python."),
    ] = "onnxruntime",
    threads: Annotated[
        int | None, typer.Option(help="Threads of the runtime, of each part.", show_default="the plan's server's")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the stages of the server for Triton."""
    from partition.exits.policy import served_folder
    from partition.export.triton import export_triton

    with steps(1) as step:
        step.start(f"writing {triton}")
        made = export_triton(served_folder(out), triton, backend=backend, threads=threads, overwrite=force)  # type: ignore[arg-type]
    if as_json:
        show_json(made.to_json())
        return
    from partition.report.table import format_bytes

    shown = console()
    count = len(made.models)
    shown.print(
        f"wrote {count} model{'s' * (count != 1)} for Triton's {made.backend} backend to {made.folder}, "
        f"{format_bytes(made.size_bytes)}",
        soft_wrap=True,
    )
    for name in made.stages:
        shown.print(f"  {name}", soft_wrap=True)
    inner = count - len(made.stages)
    if inner:
        shown.print(f"  and {inner} that these consist of", soft_wrap=True)
    shown.print(f"next: tritonserver --model-repository {made.folder}", soft_wrap=True)
