"""The command ``dnn-partition inspect``: what a model consists of, where it can be cut, and why not elsewhere."""

from partition.arguments import (
    AnnotateOption,
    DimOption,
    ForceOption,
    GranularityOption,
    InputOption,
    JsonOption,
    ModelArgument,
    check_annotated_copy,
    dims,
)
from partition.terminal import console, show_json, steps


def inspect(
    model: ModelArgument,
    dim: DimOption = None,
    input_file: InputOption = None,
    granularity: GranularityOption = "layer",
    annotate: AnnotateOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show layers, their costs, and where to cut or why not."""
    from graph_io import load_graph
    from partition.report.inspection import inspection_json, inspection_view
    from partition.runtime.files import read_inputs

    check_annotated_copy(annotate, model, force=force)
    with steps(1) as step:
        step.start(f"loading {model.name}")
        graph = load_graph(
            model,
            dims=dims(dim),
            inputs=None if input_file is None else read_inputs(input_file),
            granularity=granularity,  # type: ignore[arg-type]
        )
    if annotate is not None:
        from partition.annotated import write_annotated

        write_annotated(graph, annotate)
    show_json(inspection_json(graph)) if as_json else console().print(inspection_view(graph))
    if annotate is not None and not as_json:
        console().print(f"annotated copy: {annotate}", soft_wrap=True)
