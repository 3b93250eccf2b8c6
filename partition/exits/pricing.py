"""What each way to use the exits costs: its heads on the device, and the plans of its rest."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graph_io import LayerGraph
from partition.exits.family import ExitFamily, Way
from partition.exits.front import codec_front
from partition.exits.machines import SegmentMachine
from partition.exits.segments import Segments, segments
from partition.links import Link
from partition.plan import Plan

if TYPE_CHECKING:
    from partition.api import Method
    from partition.codecs.table import CodecTable
    from partition.load.model import Load
    from partition.problem import OutputOn


@dataclass(frozen=True, slots=True, eq=False)
class PricedHead:
    """A head with its latency on the device, and notes on that."""

    graph: LayerGraph
    latency_s: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PricedWay:
    """A way to use the exits.

    Attributes
    ----------
    way : Way
    heads : tuple of PricedHead
    head_outputs : tuple of str
    output : str
        The final exit's.
    stop_s : tuple of float
        Latency to the answer of each exit of the device.
    plans : tuple of Plan
        Of the rest, the fastest first; each of the next ones loses less by its codecs.
    notes : tuple of str
    """

    way: Way
    heads: tuple[PricedHead, ...]
    head_outputs: tuple[str, ...]
    output: str
    stop_s: tuple[float, ...]
    plans: tuple[Plan, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class Pricing:
    """Prices the ways of a family on two machines and a link.

    Attributes
    ----------
    family : ExitFamily
    link : Link
    device, server : SegmentMachine
    codecs : mapping of Way to CodecTable
        Of the rests.
    output_on, dims, input_bytes, keep_inputs, threads, max_server_visits, method
        As for `partition`.
    loads : mapping of str to float or LoadReading
        As `parse_load` returns them.
    """

    family: ExitFamily
    link: Link
    device: SegmentMachine
    server: SegmentMachine
    codecs: "Mapping[Way, CodecTable]"
    output_on: "OutputOn"
    dims: Mapping[str, int]
    input_bytes: Mapping[str, int | str]
    keep_inputs: bool
    threads: Mapping[str, int]
    loads: "Mapping[str, Load]"
    max_server_visits: int | None
    method: "Method"
    _heads: dict[str, PricedHead] = field(default_factory=dict)
    _plans: dict[Any, tuple[Plan, ...]] = field(default_factory=dict)

    def price(self, way: Way) -> PricedWay:
        """Cut the models of a way, price its heads and plan its rest.

        Raises
        ------
        InputError, graph_io.ModelError, solvers.SolverError
            A segment that cannot be cut or was not measured; what `partition` refuses.
        """
        cut = segments(self.family, way, dims=self.dims)
        heads = tuple(self._head(proto, name) for proto, name in zip(cut.heads, cut.head_names, strict=True))
        stop_s, total_s = [], 0.0
        for head in heads:
            total_s += head.latency_s
            stop_s.append(total_s)
        plans, notes = self._rest(cut, heads)
        own = tuple(note for head in heads for note in head.notes)
        return PricedWay(way, heads, cut.head_outputs, cut.output, tuple(stop_s), plans, (*own, *notes))

    def _head(self, proto: Any, name: str) -> PricedHead:
        from graph_io import load_graph
        from partition.latency.annotate import annotate

        key = hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
        if key not in self._heads:
            graph = load_graph(proto)
            threads = {"device": self.threads["device"]} if "device" in self.threads else {}
            loads = {"device": self.loads["device"]} if "device" in self.loads else {}
            notes = annotate(graph, {"device": self.device.of(graph, name)}, threads=threads, loads=loads)
            latency_s = sum(seconds["device"] for _, seconds in graph.nodes(data="latency_s"))
            self._heads[key] = PricedHead(graph, latency_s, notes)
        return self._heads[key]

    def _rest(self, cut: Segments, heads: tuple[PricedHead, ...]) -> tuple[tuple[Plan, ...], tuple[str, ...]]:
        from graph_io import load_graph
        from partition.api import partition

        if not self.family.joint and cut.way.final in self._plans:
            # The whole model of the final exit, whatever was before.
            return self._plans[cut.way.final], ()
        graph = load_graph(cut.rest)
        keep_inputs, notes = self._held(graph, heads, cut)
        table = self.codecs.get(cut.way)
        machines = {"device": self.device.of(graph, cut.rest_name), "server": self.server.of(graph, cut.rest_name)}
        sizes = {name: size for name, size in self.input_bytes.items() if name in graph.graph["inputs"]}

        def plan_within(max_loss: float) -> Plan:
            return partition(
                graph,
                self.link,
                device=machines["device"],
                server=machines["server"],
                output_on=self.output_on,
                input_bytes=sizes or None,
                keep_inputs=keep_inputs,
                threads=self.threads or None,
                load=self.loads or None,
                max_server_visits=self.max_server_visits,
                codecs=table,
                max_loss=max_loss,
                method=self.method,
            )

        plans = codec_front(plan_within) if table is not None else (plan_within(0.0),)
        self._plans[cut.way.final] = plans
        return plans, notes

    def _held(self, rest: LayerGraph, heads: tuple[PricedHead, ...], cut: Segments) -> tuple[bool, tuple[str, ...]]:
        """Say whether the inputs of a rest have to stay on the device: those that show as much as the user's."""
        if not self.keep_inputs:
            return False, ()
        raw = self._shown(heads)
        made = {name for head in heads for name in head.graph.graph["outputs"]} if self.family.joint else set()
        held = [name for name in rest.graph["inputs"] if name not in made or name in raw]
        if not held:
            return False, ()
        free = [name for name in rest.graph["inputs"] if name not in held]
        if not free:
            return True, ()
        note = (
            f"keep_inputs: '{cut.rest_name}' reads {', '.join(held)}, so what it reads of heads stays on the device "
            f"too: {', '.join(free)}"
        )
        return True, (note,)

    def _shown(self, heads: tuple[PricedHead, ...]) -> set[str]:
        """Return what heads put out that is still an input of the user's, only moved, cast or quantised."""
        from partition.api import STILL_THE_INPUT

        made: set[str] = set()
        raw: set[str] = set()
        for head in heads:
            own = {name for name in head.graph.graph["inputs"] if name not in made or name in raw}
            for layer_id in head.graph:  # in topological order
                layer = head.graph.nodes[layer_id]["layer"]
                if STILL_THE_INPUT.issuperset(layer.op_types) and own.intersection(layer.inputs):
                    own.update(layer.outputs)
            raw |= own
            made.update(head.graph.graph["outputs"])
        return raw
