"""What a model loses where tensors cross by codecs: parts with these codecs run on the data, against the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graph_io import LayerGraph, runtime_reason
from partition.codecs.data import find_data
from partition.codecs.metrics import Metric, find_metric, loss_by, max_relative_error
from partition.codecs.parts import emitted_parts
from partition.codecs.table import CodecTable
from partition.errors import InputError
from partition.plan_records import PlanPart
from partition.runtime.parts import open_part, session_options
from partition.runtime.session import open_step

if TYPE_CHECKING:
    from graph_io import Model
    from partition.runtime.session import Step

Array = NDArray[Any]


@dataclass(slots=True)
class Judge:
    """Runs a model in parts on data and says how far its outputs are off.

    Attributes
    ----------
    graph : networkx.DiGraph
    inputs : sequence of mappings
    metric_name, metric : str, callable
    """

    graph: LayerGraph
    inputs: Sequence[Mapping[str, Array]]
    metric_name: str
    metric: Metric
    _reference: list[dict[str, Array]] = field(default_factory=list)

    @property
    def reference(self) -> list[dict[str, Array]]:
        """The outputs of the whole model on each input."""
        if not self._reference:
            whole = whole_step(self.graph)
            self._reference = [run_step(whole, one) for one in self.inputs]
        return self._reference

    def loss(self, outputs: Sequence[Mapping[str, Array]]) -> tuple[float, float]:
        """Return the loss by the metric and the output error; both may be infinite."""
        if any(_new_nan(wanted, got) for wanted, got in zip(self.reference, outputs, strict=True)):
            return float("inf"), float("inf")
        return (
            loss_by(self.metric, self.metric_name, self.reference, outputs),
            max_relative_error(self.reference, outputs),
        )

    def loss_of_parts(self, parts: Sequence[PlanPart]) -> tuple[float, float]:
        """Run the parts of a plan, codecs included, one after the other; return what `loss` does."""
        options = session_options(threads=1, weights=self.graph.graph["model"].weights)
        contents = emitted_parts(self.graph, parts)
        steps = [
            open_step(part.file, open_part(content, part.file, options))
            for part, content in zip(parts, contents, strict=True)
        ]
        names = self.graph.graph["outputs"]
        outputs = []
        for one in self.inputs:
            values = dict(one)
            for step in steps:
                values |= run_step(step, values)
            outputs.append({name: values[name] for name in names})
        return self.loss(outputs)


def find_judge(graph: LayerGraph, table: CodecTable) -> Judge | str:
    """Return what measures several codecs at once, or why they cannot be measured here."""
    try:
        name, metric = (table.metric, table.metric_function) if table.metric_function else find_metric(table.metric)
        if table.inputs:
            return Judge(graph, table.inputs, name, metric)
        if table.data.kind == "memory":
            return "the codecs were measured on inputs that were in memory alone"
        place = table.data.folder or "random"
        inputs, source = find_data(graph, place, limit=table.data.n_inputs)
    except InputError as error:
        return str(error)
    if source.sha256 != table.data.sha256:
        return f"the inputs in '{place}' are not those that the codecs were measured on"
    return Judge(graph, inputs, name, metric)


def whole_step(graph: LayerGraph, *, threads: int = 1) -> "Step":
    """Open the whole model of a graph."""
    model: Model = graph.graph["model"]
    options = session_options(threads=threads, weights=model.weights)
    return open_step("the whole model", open_part(model.proto.SerializeToString(), "the whole model", options))


def run_step(step: "Step", values: Mapping[str, Any]) -> dict[str, Any]:
    """Run an open part on what it reads.

    Raises
    ------
    InputError
        The runtime fails.
    """
    try:
        produced = step.run({name: values[name] for name in step.inputs})
    except InputError:
        raise
    except Exception as error:  # the runtime's exceptions share no public base class
        raise InputError(f"{step.name} failed in onnxruntime: {runtime_reason(error)}") from error
    return dict(zip(step.outputs, produced, strict=True))


def _new_nan(reference: Mapping[str, Array], outputs: Mapping[str, Array]) -> bool:
    """Say whether outputs have NaN where the whole model has none."""
    return any(
        wanted.dtype.kind == "f" and bool(np.any(np.isnan(outputs[name]) & ~np.isnan(wanted)))
        for name, wanted in reference.items()
        if wanted.shape == outputs[name].shape
    )
