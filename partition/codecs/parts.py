"""Parts with codecs: what each reads and puts out where its neighbours on the other machine send and take codes."""

from collections.abc import Sequence
from dataclasses import replace

from graph_io import LayerGraph, Tensor
from graph_io.codecs import CodedTensor, coded_name, coded_tensors
from partition.plan_records import PlanMessage, PlanPart, PlanStage, TensorInfo


def coded_parts(
    graph: LayerGraph, parts: Sequence[PlanPart], stages: Sequence[PlanStage], messages: Sequence[PlanMessage]
) -> tuple[PlanPart, ...]:
    """Let parts put out and read what crosses in place of the tensors.

    Parameters
    ----------
    graph : networkx.DiGraph
    parts : sequence of PlanPart
        As without codecs. Where the device encodes an input of the model and runs no layer, its part has none.
    stages, messages : sequences of PlanStage, PlanMessage

    Returns
    -------
    tuple of PlanPart
        Who reads a tensor on the machine that made it still reads the tensor itself.
    """
    tensors: dict[str, Tensor] = graph.graph["tensors"]
    machine_of = {number: stage.machine for stage in stages for number in stage.parts}
    reads = [{one.name: one for one in part.inputs} for part in parts]
    puts_out = [{one.name: one for one in part.outputs} for part in parts]
    for message in messages:
        sender = "device" if message.direction == "uplink" else "server"
        for name, codec in message.coded.items():
            sent = [TensorInfo(*_fields(one)) for one in coded_tensors(name, tensors[name].shape, codec)]
            for number, read in enumerate(reads):
                if machine_of[number] != sender and name in read:
                    del read[name]
                    read.update({one.name: one for one in sent})
            owner = _owner(tensors[name], parts, stages)
            if tensors[name].producer is None:
                reads[owner].setdefault(name, _info(tensors[name]))
            elif name not in graph.graph["outputs"] and not any(name in read for read in reads):
                puts_out[owner].pop(name, None)
            puts_out[owner].update({one.name: one for one in sent})
    return tuple(
        replace(part, inputs=tuple(read.values()), outputs=tuple(made.values()))
        for part, read, made in zip(parts, reads, puts_out, strict=True)
    )


def emitted_parts(graph: LayerGraph, parts: Sequence[PlanPart]) -> list[bytes]:
    """Cut a model into parts and put in the codecs that their inputs and outputs name; return the files' contents."""
    from graph_io import split
    from graph_io.codec_nodes import Crossing, codec_part, with_codecs

    tensors: dict[str, Tensor] = graph.graph["tensors"]
    submodels = iter(split(graph, [part.layers for part in parts if part.layers]))
    contents = []
    for part in parts:
        inputs, outputs = ([one.name for one in side] for side in (part.inputs, part.outputs))
        # A tensor of the model itself may have such a name.
        found = [coded_name(name) for name in (*inputs, *outputs) if name not in tensors]
        names = {one[0] for one in found if one is not None}
        crossings = {name: Crossing(name, tensors[name].dtype, tensors[name].shape) for name in names}
        if not part.layers:
            proto = codec_part(graph.graph["model"].proto, inputs, outputs, crossings)
        else:
            proto = next(submodels).proto
            if crossings:
                proto = with_codecs(proto, inputs, outputs, crossings)
        contents.append(proto.SerializeToString())
    return contents


def _owner(tensor: Tensor, parts: Sequence[PlanPart], stages: Sequence[PlanStage]) -> int:
    """Return the part that makes a tensor; of an input of the model, the device's first."""
    if tensor.producer is None:
        return stages[0].parts[0]
    return next(number for number, part in enumerate(parts) if tensor.producer in part.layers)


def _info(tensor: Tensor) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.dtype, tensor.shape, tensor.size_bytes)


def _fields(one: CodedTensor) -> tuple[str, str, tuple[int, ...], int]:
    return one.name, one.dtype, one.shape, one.size_bytes
