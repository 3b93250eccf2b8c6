"""Which original nodes the runtime executes as one: read off its optimised graph by dataflow, never by name of a node.

A tensor of the original graph that the optimised graph still produces is a boundary: what lies between boundaries was
fused. Names of nodes do not survive on transformers; names of tensors do wherever a fusion ends. Where the optimiser
renames tensor after tensor (it inserts casts for float16, pushes transposes along) boundaries are lost although nothing
was fused: there chains of light nodes are grouped by rule.
"""

import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import onnx
from onnx import GraphProto, NodeProto

from graph_io.dataflow import Dataflow, node_reads
from graph_io.errors import ModelError, runtime_reason
from graph_io.external import stored_bytes
from graph_io.model import Model
from graph_io.quantised_cuts import narrowed_tensors, with_quantisers
from graph_io.skeleton import write_skeleton

Group = tuple[int, ...]

# Above this much, weights that only pass a Transpose or a Cast are not computed for the sake of grouping: the runtime
# would hold them twice and write them out. The fusions are the same, except where one needs such a weight's value.
_FOLDED_BYTES = 512 * 1024 * 1024
# How the runtime says that its optimised graph came out too large to be written.
_TOO_LARGE = ("SerializeToZeroCopyStream", "2GB", "Protobuf serialization failed")

# They relabel or convert and do not tell how many kernels a step really has.
_RELABELLING = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
# A runtime runs these in the loop of the node before them, if nobody else reads that node's result.
_LIGHT = _RELABELLING | {
    *("Abs", "Add", "BatchNormalization", "Clip", "Div", "Dropout", "Elu", "Erf", "Exp", "Flatten", "Gelu"),
    *("HardSigmoid", "HardSwish", "LeakyRelu", "Mul", "Neg", "PRelu", "Pow", "Relu", "Sigmoid", "Softplus"),
    *("Sqrt", "Sub", "Tanh"),
}


@dataclass(frozen=True, slots=True)
class Kernel:
    """One step of the optimised graph and the original nodes that it stands for.

    Attributes
    ----------
    members : tuple of str
        Names of the optimised nodes: more than one where the optimiser rewrote a pattern into several.
    nodes : tuple of int
        Numbers of the original nodes that they replace, ascending.
    n_computing : int
        How many of the members do more than relabel or convert.
    """

    members: tuple[str, ...]
    nodes: Group
    n_computing: int


def fused_groups(model: Model, flow: Dataflow) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """Group the nodes of a model as the runtime's EXTENDED optimisation fuses them on the CPU of this host.

    Returns
    -------
    groups : tuple of tuple of int
        A partition of the node numbers, in topological order; the graph between the groups has no cycle.
    notes : tuple of str
        Where the runtime's grouping could not be kept.

    Raises
    ------
    ModelError
        The runtime refuses the model, for example for an operator that it lacks.
    """
    optimized = optimized_graph(model, level="extended")
    if optimized is None:
        return single_groups(flow), (
            "the runtime could not write its optimised graph: every node is a layer of its own",
        )
    kernels = trace_kernels(flow, optimized.node, boundaries=narrowed_tensors(flow))
    by_rule = 0
    candidates: list[Group] = []
    for kernel in kernels:
        if kernel.n_computing > 1 and len(kernel.nodes) > 1:
            pieces = _chains(flow, kernel.nodes)
            candidates += pieces
            if len(pieces) > 1:
                by_rule += len(pieces)
        else:
            candidates.append(kernel.nodes)
    claims = Counter(node for group in candidates for node in group)
    # What two kernels both absorbed (a Transpose folded into two products) becomes a layer of its own.
    groups = [tuple(node for node in group if claims[node] == 1) for group in candidates]
    groups += [(node,) for node in range(len(flow.nodes)) if claims[node] != 1]
    ordered, notes = _acyclic(flow, with_quantisers(flow, (group for group in groups if group)))
    if by_rule:
        notes = (f"{by_rule} layers are grouped by rule: the runtime renames the tensors between them", *notes)
    if _is_large(model):
        notes = ("over 0.5 GB of weights: layers are grouped without computing constants ahead", *notes)
    return ordered, notes


def _chains(flow: Dataflow, nodes: Group) -> list[Group]:
    """Group nodes into chains: any node, then light nodes that each alone read the result of the one before."""
    inside = set(nodes)
    head_of: dict[int, int] = {}
    chains: dict[int, list[int]] = {}
    for node in nodes:
        reads = flow.reads[node]
        before = flow.producer.get(reads[0]) if len(reads) == 1 else None
        follows = (
            before in inside
            and flow.nodes[node].op_type in _LIGHT
            and flow.consumers[reads[0]] == (node,)
            and reads[0] not in flow.outputs
        )
        head = head_of[before] if follows and before is not None else node
        head_of[node] = head
        chains.setdefault(head, []).append(node)
    return [tuple(chain) for chain in chains.values()]


def single_groups(flow: Dataflow) -> tuple[Group, ...]:
    """Keep every node apart."""
    return tuple((number,) for number in range(len(flow.nodes)))


def optimized_graph(model: Model, *, level: str) -> GraphProto | None:
    """Let the runtime optimise a model and return the resulting graph; None where it cannot write it down.

    Parameters
    ----------
    model : Model
    level : {"none", "extended", "all"}
        "none" only asks whether the runtime takes the model; "all" is specific to this host's processor.
    """
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    with tempfile.TemporaryDirectory(prefix="dnn-partition-") as folder:
        result = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.disable_prepacking", "1")
        # Nothing is run, so no memory need be planned.
        options.enable_mem_pattern = options.enable_mem_reuse = False
        options.graph_optimization_level = {
            "none": levels.ORT_DISABLE_ALL,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "all": levels.ORT_ENABLE_ALL,
        }[level]
        if level != "none":
            options.optimized_model_filepath = str(result)
        path = write_skeleton(model.proto, Path(folder))
        try:
            disabled = ["ConstantFolding"] if _is_large(model) else None
            onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
            )
        except Exception as error:  # the runtime's exceptions share no public base class
            if level != "none" and any(sign in str(error) for sign in _TOO_LARGE):
                return None
            raise ModelError(f"model '{model.name}' cannot run in onnxruntime: {runtime_reason(error)}") from error
        if level == "none":
            return None
        return onnx.load(result, load_external_data=False).graph


def _is_large(model: Model) -> bool:
    return sum(stored_bytes(tensor) for tensor in model.proto.graph.initializer) > _FOLDED_BYTES


def trace_kernels(
    flow: Dataflow,
    nodes: Sequence[NodeProto],
    *,
    original_name: Callable[[str], str] = lambda name: name,
    boundaries: Iterable[str] = (),
) -> tuple[Kernel, ...]:
    """Find for each step of an optimised graph the original nodes that it stands for.

    Parameters
    ----------
    flow : Dataflow
        Of the original graph.
    nodes : sequence of onnx.NodeProto
        Of the optimised graph.
    original_name : callable
        Maps a tensor name of the optimised graph to the original tensor that holds the same values, or to itself.
    boundaries : iterable of str
        Original tensors that end a step even if the optimised graph does not produce them.

    Notes
    -----
    Optimised nodes that are linked by an invented tensor form one step. Its original nodes are those between the
    original tensors that it produces and the nearest surviving tensors upstream. Linear in the size of both graphs.
    """
    parent = list(range(len(nodes)))

    def find(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    known = set(flow.inputs) | set(flow.producer)
    maker: dict[str, int] = {}
    written: list[list[str]] = []
    for number, node in enumerate(nodes):
        names = [original_name(name) for name in node.output if name]
        written.append([name for name in names if name in known])
        for name in node_reads(node):
            # An invented tensor joins its reader to its maker, unless an original one already marks the boundary.
            if original_name(name) not in known and name in maker:
                parent[find(number)] = find(maker[name])
        maker.update((name, number) for name in node.output if name)

    steps: dict[int, list[int]] = {}
    for number in range(len(nodes)):
        steps.setdefault(find(number), []).append(number)
    extra = set(boundaries)
    surviving = set(flow.inputs) | {name for names in written for name in names} | extra
    kernels = []
    for members in steps.values():
        outputs = [name for number in members for name in written[number]]
        covered = _between(flow, outputs, surviving)
        n_computing = sum(nodes[number].op_type not in _RELABELLING for number in members)
        kernels.append(Kernel(tuple(nodes[number].name for number in members), covered, n_computing))
    for name in sorted(extra - {name for names in written for name in names}):
        kernels.append(Kernel((), _between(flow, [name], surviving), 1))
    return tuple(kernels)


def _between(flow: Dataflow, outputs: Iterable[str], surviving: set[str]) -> Group:
    covered: set[int] = set()
    pending = deque(flow.producer[name] for name in outputs if name in flow.producer)
    while pending:
        node = pending.pop()
        if node in covered:
            continue
        covered.add(node)
        pending.extend(flow.producer[name] for name in flow.reads[node] if name not in surviving)
    return tuple(sorted(covered))


def _acyclic(flow: Dataflow, groups: list[Group]) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """Break groups that wait for each other into single nodes, and sort all of them topologically."""
    notes: list[str] = []
    while True:
        groups.sort(key=lambda group: group[-1])
        member = {node: index for index, group in enumerate(groups) for node in group}
        quotient: nx.DiGraph[int] = nx.DiGraph()
        quotient.add_nodes_from(range(len(groups)))
        for node, names in enumerate(flow.reads):
            for name in names:
                if name in flow.producer:
                    edge = (member[flow.producer[name]], member[node])
                    if edge[0] != edge[1]:
                        quotient.add_edge(*edge)
        knots = [knot for knot in nx.strongly_connected_components(quotient) if len(knot) > 1]
        if not knots:
            order = nx.lexicographical_topological_sort(quotient, key=lambda index: groups[index][-1])
            return tuple(groups[index] for index in order), tuple(notes)
        broken = {index for knot in knots for index in knot}
        notes.append(f"{len(broken)} fused groups depend on each other and are kept as single nodes")
        singles: list[Group] = [(node,) for index in broken for node in groups[index]]
        groups = [group for index, group in enumerate(groups) if index not in broken] + singles
