"""A plan with codecs: those of a measured table, priced for both machines, chosen with the cut and judged together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TypeAlias

import solvers
from graph_io import LayerGraph, Tensor
from graph_io.codecs import codec_refusal
from partition.codecs.choice import JointChoice, Loss, Options, choose
from partition.codecs.judge import Judge, find_judge
from partition.codecs.table import CodecTable, TensorFigures, load_codecs
from partition.errors import InputError
from partition.links import Link
from partition.plan_records import PlanLoss
from partition.problem import Bridge, Coded, CodedCrossing, Direction, IntArray, schedule

CodecsLike: TypeAlias = "str | PathLike[str] | CodecTable"


@dataclass(frozen=True, slots=True, eq=False)
class CodedPlan:
    """The joint choice, what the plan says of its loss, and notes on what was taken for granted."""

    choice: JointChoice
    loss: PlanLoss
    notes: tuple[str, ...]


class CodecPlanner:
    """Chooses cut and codecs of one model together.

    Parameters
    ----------
    graph : networkx.DiGraph
    codecs : path or CodecTable
    max_loss : float
        By the table's metric.
    latency_s : mapping
        Layer id to seconds on the device and on the server.
    link : Link
    excluded : sequence of str
        Tensors that get no codec.

    Raises
    ------
    InputError
        A table of another model or of other shapes; a codec that a tensor's type does not allow; a bound that is no
        number of 0 or more.
    """

    def __init__(
        self,
        graph: LayerGraph,
        codecs: CodecsLike,
        *,
        max_loss: float,
        latency_s: Mapping[str, tuple[float, float]],
        link: Link,
        excluded: Sequence[str] = (),
    ) -> None:
        if isinstance(max_loss, bool) or not isinstance(max_loss, int | float) or not 0 <= max_loss < float("inf"):
            raise InputError(f"max_loss is {max_loss!r}; give a number of 0 or more, such as 0.01")
        self._graph = graph
        self._table = codecs if isinstance(codecs, CodecTable) else load_codecs(codecs)
        self._max_loss = float(max_loss)
        if self._table.structure_sha256 != graph.graph["structure_sha256"]:
            raise InputError(
                f"codecs of '{self._table.model_name}' were measured on another model than '{graph.graph['name']}'; "
                "measure them on this one (dnn-partition calibrate-codecs)"
            )
        totals = [sum(seconds[machine] for seconds in latency_s.values()) for machine in (0, 1)]
        self._slowdown = [total / self._table.model_s for total in totals]
        self._figures = {one.name: one for one in self._table.tensors}
        self._options = self._find_options(link, set(excluded) | set(graph.graph["outputs"]))
        self._judge: Judge | str | None = None
        self._losses: dict[object, Loss] = {}

    def choose(self, build: Callable[[Coded], Bridge], solve: Callable[[Bridge], solvers.Solution]) -> CodedPlan:
        """Find the best placement and codecs; see `partition.codecs.choice.choose`."""
        choice = choose(self._options, build, solve, self._loss_of, max_loss=self._max_loss)
        table = self._table
        loss = PlanLoss(
            metric=table.metric,
            max_loss=self._max_loss,
            loss=choice.loss.loss,
            output_error=choice.loss.output_error,
            measured=choice.loss.measured,
            n_inputs=table.data.n_inputs,
            data=str(table.data),
        )
        return CodedPlan(choice, loss, self._notes(choice))

    def _find_options(self, link: Link, excluded: set[str]) -> Options:
        tensors: dict[str, Tensor] = self._graph.graph["tensors"]
        device, server = self._slowdown
        factors: dict[Direction, tuple[float, float]] = {"uplink": (device, server), "downlink": (server, device)}
        found: dict[tuple[str, Direction], tuple[CodedCrossing, ...]] = {}
        for one in self._table.tensors:
            if one.name not in tensors or one.name in excluded:
                continue
            self._check(one, tensors[one.name])
            for direction, (sender, receiver) in factors.items():
                crossings = tuple(
                    CodedCrossing(
                        figures.codec,
                        figures.size_bytes,
                        one.raw_bytes,
                        figures.encode_s * sender,
                        figures.decode_s * receiver,
                    )
                    for figures in one.codecs
                    if figures.loss is not None and figures.output_error is not None and figures.loss <= self._max_loss
                )
                if crossings:
                    found[one.name, direction] = crossings
        raw = {name: float(tensors[name].size_bytes) for name, _ in found}
        return Options(found, raw, {"uplink": link.upload_s_per_byte, "downlink": link.download_s_per_byte})

    def _check(self, figures: TensorFigures, tensor: Tensor) -> None:
        if figures.shape != tensor.shape or figures.dtype != tensor.dtype:
            raise InputError(
                f"codecs of '{self._table.model_name}': tensor '{tensor.name}' was measured as {figures.dtype} "
                f"{list(figures.shape)} and is planned as {tensor.dtype} {list(tensor.shape)}; measure them again"
            )
        for one in figures.codecs:
            reason = codec_refusal(one.codec, tensor.dtype, tensor.shape)
            if reason is not None:
                raise InputError(f"codecs of '{self._table.model_name}': tensor '{tensor.name}': {reason}")

    def _loss_of(self, bridge: Bridge, placement: IntArray, codecs: dict[str, str]) -> Loss:
        """Say what a combination loses: as the table measured it, as measured now, or as a sum."""
        alone = [self._alone(name, codec) for name, codec in codecs.items()]
        if len(alone) == 1 and self._read_elsewhere(bridge, placement, next(iter(codecs))):
            return alone[0]
        if self._judge is None:
            self._judge = find_judge(self._graph, self._table)
        if isinstance(self._judge, str):
            return Loss(sum(one.loss for one in alone), sum(one.output_error for one in alone), False)
        from partition.assembly import parts_and_stages

        parts, _ = parts_and_stages(self._graph, schedule(bridge, placement))
        key = tuple((part.inputs, part.outputs) for part in parts)
        if key not in self._losses:
            self._losses[key] = Loss(*self._judge.loss_of_parts(parts), True)
        return self._losses[key]

    def _alone(self, name: str, codec: str) -> Loss:
        figures = next(one for one in self._figures[name].codecs if one.codec == codec)
        assert figures.loss is not None
        assert figures.output_error is not None
        return Loss(figures.loss, figures.output_error, True)

    def _read_elsewhere(self, bridge: Bridge, placement: IntArray, name: str) -> bool:
        """Say whether all readers of a tensor get it from the other machine, as they did when it was measured."""
        tensor: Tensor = self._graph.graph["tensors"][name]
        machine = dict(zip(bridge.layers, placement.tolist(), strict=False))
        own = 0 if tensor.producer is None else machine[tensor.producer]
        return all(machine[reader] != own for reader in tensor.consumers)

    def _notes(self, choice: JointChoice) -> tuple[str, ...]:
        table = self._table
        notes = [f"codecs: {one}" for one in table.notes]
        if choice.codecs:
            factors = " and ".join(
                f"{factor:.3g} times on the {role}"
                for factor, role in zip(self._slowdown, ("device", "server"), strict=True)
            )
            notes.append(
                f"codecs take as long as measured on {table.machine} with {table.threads} "
                f"thread{'s' * (table.threads != 1)}, {factors}, as the model does"
            )
            if not choice.loss.measured:
                notes.append(f"the loss is the sum of those of single codecs, not measured together: {self._judge}")
        elif not self._options.crossings:
            least = [one.loss for t in table.tensors for one in t.codecs if one.loss is not None]
            tried = f"; the least that any codec loses is {min(least):.3g}" if least else ""
            notes.append(f"no codec stays within a loss of {self._max_loss:g} by {table.metric}{tried}: sent as it is")
        else:
            notes.append("no codec within the bound makes this plan faster: sent as it is")
        return tuple(notes)
