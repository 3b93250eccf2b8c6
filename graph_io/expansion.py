"""How large a model becomes when its functions are inlined, as the runtime does: forty small ones can be 2^40 nodes."""

from collections.abc import Iterable

from onnx import ModelProto, NodeProto

from graph_io.dataflow import FunctionKey, called_function, every_node, functions_by_key
from graph_io.errors import ModelError

_LARGEST_NODES = 1_000_000


def check_expansion(proto: ModelProto, label: str) -> None:
    """Refuse a model whose functions call themselves or expand beyond what the runtime can take. Linear.

    Raises
    ------
    ModelError
    """
    functions = functions_by_key(proto)
    if not functions:
        return
    calls = {
        key: [called_function(node) for node in every_node(function.node) if called_function(node) in functions]
        for key, function in functions.items()
    }
    sizes: dict[FunctionKey, int] = {}
    for key in _callees_first(calls, label):
        sizes[key] = _size(functions[key].node, sizes)
    total = _size(proto.graph.node, sizes)
    if total > _LARGEST_NODES:
        raise ModelError(
            f"model '{label}': inlined, its functions make more than the {_LARGEST_NODES} nodes that are taken here; "
            "export it with fewer calls"
        )


def _size(nodes: Iterable[NodeProto], sizes: dict[FunctionKey, int]) -> int:
    return sum(sizes.get(called_function(node), 1) for node in every_node(nodes))


def _callees_first(calls: dict[FunctionKey, list[FunctionKey]], label: str) -> list[FunctionKey]:
    waiting = {key: len(set(called)) for key, called in calls.items()}
    callers: dict[FunctionKey, list[FunctionKey]] = {key: [] for key in calls}
    for key, called in calls.items():
        for one in set(called):
            callers[one].append(key)
    order = [key for key, count in waiting.items() if count == 0]
    for key in order:
        for caller in callers[key]:
            waiting[caller] -= 1
            if waiting[caller] == 0:
                order.append(caller)
    if len(order) < len(calls):
        stuck = next(key for key, count in waiting.items() if count > 0)
        raise ModelError(
            f"model '{label}': function '{stuck[1]}' calls itself, directly or through others; "
            "the file is not valid ONNX"
        )
    return order
