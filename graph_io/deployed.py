"""Which layers each kernel of the deployed model stands for, and what decides its time.

So the profile of a model, or a prediction kernel by kernel, can be attributed to layers.

At its highest optimisation level the runtime changes data layouts: it renames tensors and inserts reorders. Tensors are
followed through both; a reorder belongs to the layers that asked for it.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import GraphProto, NodeProto

from graph_io.dataflow import Dataflow, dataflow, node_reads
from graph_io.dtypes import size_bytes
from graph_io.errors import ModelError
from graph_io.fusion import Kernel, optimized_graph, trace_kernels
from graph_io.graph import LayerGraph
from graph_io.kernel_features import KernelFeatures, TypedShapes, kernel_features
from graph_io.kernel_shapes import deployed_shapes
from graph_io.layouts import ADDEND, ENTERING, LEAVING, REORDERS, LayoutConversion, find_conversions

# The layout pass names its node after the tensor that it stands for, with one of these behind it.
_SUFFIXES = ("_bn_nchwc", "_mul_nchwc", "_nchwc")
# A fusion names its node after one that it replaces, with this behind it.
_FUSION = re.compile(r"/\w+Fusion/$")


def deployed_kernels(graph: LayerGraph) -> dict[str, tuple[str, ...]]:
    """Map each kernel of the fully optimised model, by its node's name, to the layers whose work it does.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `load_graph`.

    Returns
    -------
    dict
        Node name, as the runtime's profiler reports it, to layer ids in topological order. Most kernels have one; one
        that fuses further than the layers, and a reorder whose result several layers read, has several. Nodes without a
        name go together by operator, as `unnamed_kernel` calls them.

    Raises
    ------
    ModelError
        The runtime cannot write down its optimised graph, or a kernel of it cannot be followed back.
    """
    return _attributed(graph, "all").layers


@dataclass(frozen=True, slots=True)
class DeployedKernel:
    """One kernel of the deployed model.

    Attributes
    ----------
    name : str
        Its node's, in the optimised graph that was written here.
    key : str
        By which a profile of any session knows it; see `profile_key`. Several kernels may share one.
    layers : tuple of str
        Ids of the layers whose work it does.
    features : KernelFeatures
    """

    name: str
    key: str
    layers: tuple[str, ...]
    features: KernelFeatures


def profile_key(name: str, op_type: str, read: Sequence[int], written: Sequence[int]) -> str:
    """Return by what a kernel is known in every session.

    The runtime numbers its reorders in another order each time, so these go together by shape: all of one shape take
    equally long. Nodes without a name go together by operator; all others have their name.

    Parameters
    ----------
    name, op_type : str
    read, written : sequence of int
        Shapes of the first input and of the first output.
    """
    if op_type in REORDERS:
        shape = read if op_type == ENTERING else written
        return f"{op_type} {list(shape)}"
    return name


def kernel_list(graph: LayerGraph, *, level: str = "all") -> tuple[DeployedKernel, ...]:
    """List the kernels of the optimised model with their static features, in the order of running.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `load_graph`; the list is kept in its attribute ``cache``, which copies of the graph share.
    level : {"all", "extended"}
        "all" is specific to the processor of this host; "extended" leaves out the data layouts of its own.

    Returns
    -------
    tuple of DeployedKernel

    Raises
    ------
    ModelError
        As `deployed_kernels`.
    """
    return _deployed(graph, level).kernels


def layout_conversions(graph: LayerGraph, *, level: str = "all") -> tuple[LayoutConversion, ...]:
    """List the tensors between layers that the runtime keeps in a layout of its own; parameters as `kernel_list`."""
    return _deployed(graph, level).conversions


@dataclass(frozen=True, slots=True)
class _Deployed:
    kernels: tuple[DeployedKernel, ...]
    conversions: tuple[LayoutConversion, ...]


def _deployed(graph: LayerGraph, level: str) -> _Deployed:
    cache: dict[str, _Deployed] = graph.graph["cache"]
    if level not in cache:
        found = _attributed(graph, level)
        originals = graph.graph["shapes"]
        shapes, constants = deployed_shapes(found.optimized, originals, found.originals)
        resident_bytes = _resident_bytes(found.optimized, shapes, graph.graph["inputs"], originals)
        kernels = tuple(
            DeployedKernel(
                node.name,
                profile_key(node.name, node.op_type, _shape(node.input[:1], shapes), _shape(node.output[:1], shapes)),
                found.layers[node.name],
                kernel_features(node, shapes, constants, resident_bytes=resident_bytes),
            )
            for node in found.optimized.node
        )
        conversions = find_conversions(found.optimized, found.inside, originals | shapes, resident_bytes=resident_bytes)
        cache[level] = _Deployed(kernels, conversions)
    return cache[level]


def _resident_bytes(optimized: GraphProto, shapes: TypedShapes, inputs: Iterable[str], originals: TypedShapes) -> int:
    """Return about how much memory one run touches: what of it is still in a cache at the next run depends on that."""
    weights = sum(size_bytes(*shapes[tensor.name]) for tensor in optimized.initializer if tensor.name in shapes)
    largest = max(
        (
            sum(size_bytes(*shapes[name]) for name in (*node.input, *node.output) if name in shapes)
            for node in optimized.node
        ),
        default=0,
    )
    return weights + largest + sum(size_bytes(*originals[name]) for name in inputs)


def _shape(names: Sequence[str], shapes: TypedShapes) -> tuple[int, ...]:
    return shapes[names[0]][1] if names and names[0] in shapes else ()


@dataclass(frozen=True, slots=True, eq=False)
class _Attributed:
    optimized: GraphProto
    originals: dict[str, str]
    layers: dict[str, tuple[str, ...]]
    inside: dict[str, list[str]]


def _attributed(graph: LayerGraph, level: str) -> _Attributed:
    model = graph.graph["model"]
    flow = dataflow(model.proto)
    optimized = optimized_graph(model, level=level)
    if optimized is None:
        raise ModelError(
            f"model '{model.name}' is too large for the runtime to write its optimised graph; it cannot be profiled yet"
        )
    nodes = optimized.node
    for node in nodes:
        # Inlined functions leave nodes without a name; the profiler calls them by operator and a number of its own.
        node.name = node.name or unnamed_kernel(node.op_type)
    originals = _original_names(flow, nodes)
    computing = [node for node in nodes if node.op_type not in REORDERS]
    kernels = trace_kernels(flow, computing, original_name=lambda name: originals.get(name, name))
    layer_of = {node: layer for layer, data in graph.nodes(data=True) for node in data["layer"].nodes}
    position = {layer: index for index, layer in enumerate(graph.nodes)}
    attributed: dict[str, tuple[str, ...]] = {}
    for kernel in kernels:
        layers = {layer_of[flow.nodes[number].name] for number in kernel.nodes}
        for name in kernel.members:
            attributed[name] = _sorted({*attributed.get(name, ()), *layers}, position)
    attributed |= {name: _sorted(layers, position) for name, layers in _helpers(nodes, attributed).items()}
    lost = next((node for node in nodes if not attributed[node.name]), None)
    if lost is not None:
        raise ModelError(
            f"model '{model.name}': the runtime's kernel '{lost.name}' ({lost.op_type}) cannot be followed back to a "
            "layer, so this model cannot be profiled; plan it with a machine file"
        )
    inside = _inside(flow, kernels, {node.name: node for node in nodes}, originals, graph.graph["tensors"])
    return _Attributed(optimized, originals, attributed, inside)


def _inside(
    flow: Dataflow,
    kernels: Sequence[Kernel],
    nodes: Mapping[str, NodeProto],
    originals: Mapping[str, str],
    crossing: Collection[str],
) -> dict[str, list[str]]:
    """Return for the first output of each optimised node the tensors between layers that it stands for.

    These are the original it is, and those that its kernel computes on the way and keeps to itself: cut there, what is
    left of the kernel computes the same output from them.
    """
    found: dict[str, list[str]] = {}
    apart = {originals.get(name, name) for node in nodes.values() for name in node.output}
    for kernel in kernels:
        members = [nodes[name] for name in kernel.members if name in nodes]
        for node in members:
            own = originals.get(node.output[0], node.output[0])
            if own in crossing:
                found.setdefault(node.output[0], []).append(own)
        kept = [name for number in kernel.nodes for name in flow.nodes[number].output if name not in apart]
        if len(members) == 1:
            found.setdefault(members[0].output[0], []).extend(name for name in kept if name in crossing)
    return found


def unnamed_kernel(op_type: str) -> str:
    """Return the name under which all kernels of this operator whose nodes have no name go together."""
    return f"{op_type}_*"


def _original_names(flow: Dataflow, nodes: Sequence[NodeProto]) -> dict[str, str]:
    """Map renamed tensors to the original ones with the same values."""
    known = set(flow.inputs) | set(flow.producer)
    outputs_of = {node.name: node.output for node in flow.nodes}
    originals: dict[str, str] = {}
    for node in nodes:
        if node.op_type == ENTERING:
            originals[node.output[0]] = originals.get(node.input[0], node.input[0])
        elif node.op_type == LEAVING:
            # What only passed through two reorders is already known by the name with which it came in.
            originals.setdefault(node.input[0], node.output[0])
        elif node.output[0] not in known:
            base = next((node.name.removesuffix(s) for s in _SUFFIXES if node.name.removesuffix(s) in known), None)
            if base is not None:
                originals.setdefault(node.output[0], _past_fused(flow, node, base, originals))
            else:
                first = _FUSION.sub("", node.name)
                originals.update(zip(node.output, outputs_of.get(first, ()), strict=False))
    return originals


def _past_fused(flow: Dataflow, node: NodeProto, base: str, originals: Mapping[str, str]) -> str:
    """Follow a kernel that took over the sum behind it, and the activation behind that, to what it puts out.

    Such a convolution reads the other summand as its fourth input. It keeps the name of its own output, as does a
    kernel that took over an activation only when it was put into blocks.
    """
    result = base
    if node.op_type == "Conv" and len(node.input) > ADDEND and node.input[ADDEND]:
        addend = originals.get(node.input[ADDEND], node.input[ADDEND])
        total = next((reader for reader in flow.consumers.get(base, ()) if addend in flow.reads[reader]), None)
        if total is None:
            return base
        result = flow.nodes[total].output[0]
    activation = next((one.s.decode() for one in node.attribute if one.name == "activation"), None)
    readers = flow.consumers.get(result, ())
    if activation is None or len(readers) != 1 or flow.nodes[readers[0]].op_type != activation:
        return result
    return flow.nodes[readers[0]].output[0]


def _helpers(nodes: Sequence[NodeProto], attributed: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """Find the layers of what the runtime inserted for its own sake: reorders, and casts between two of them.

    What leaves a layout belongs to the layer that made it, all else to the layers that read it. Inserted nodes in a row
    are passed over; one between the user and another inserted one belongs to whom it is nearest to.
    """
    maker = {name: node for node in nodes for name in node.output if name}
    readers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node_reads(node):
            readers.setdefault(name, []).append(node)

    def is_inserted(node: NodeProto) -> bool:
        return node.op_type in REORDERS or not attributed.get(node.name)

    def nearest(start: NodeProto, *, downstream: bool) -> set[str]:
        def step(node: NodeProto) -> Iterator[NodeProto]:
            if downstream:
                yield from readers.get(node.output[0], ())
            elif node.input[0] in maker:
                yield maker[node.input[0]]

        found: set[str] = set()
        pending = [start]
        while pending:
            for node in step(pending.pop()):
                if is_inserted(node):
                    pending.append(node)
                else:
                    found.update(attributed[node.name])
        return found

    result = {}
    for node in nodes:
        if is_inserted(node):
            downstream = node.op_type != LEAVING
            result[node.name] = nearest(node, downstream=downstream) or nearest(node, downstream=not downstream)
    return result


def _sorted(layers: Iterable[str], position: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(layers, key=position.__getitem__))
