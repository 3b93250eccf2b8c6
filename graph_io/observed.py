"""Types, shapes and lengths of texts that only a run of the model tells: one run, unoptimised, ended after a while."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ValueInfoProto, numpy_helper

from graph_io.dtypes import dtype_name, dtype_of_runtime, size_bytes
from graph_io.errors import ModelError, runtime_reason
from graph_io.external import session_entries
from graph_io.inputs import Array, random_inputs, runtime_value
from graph_io.model import Model
from graph_io.resident import resident

# A loop may count to any number that the file says.
_LIMIT_S = 4.0
_LIMIT_S_PER_BYTE = 1e-7
# For a single run it does not pay to lay weights out anew, nor to let threads wait in a loop beside other processes.
_ONE_RUN = {"session.disable_prepacking": "1", "session.intra_op.allow_spinning": "0"}


@dataclass(frozen=True, slots=True)
class Observation:
    """What a run showed.

    Attributes
    ----------
    shapes : dict
        Tensor name to its type and shape.
    text_bytes : dict
        Tensors of strings to their size: the UTF-8 characters, and 4 bytes for the length of each string.
    no_tensors : frozenset of str
        Values that are sequences, optionals or maps.
    """

    shapes: dict[str, tuple[str, tuple[int, ...]]]
    text_bytes: dict[str, int]
    no_tensors: frozenset[str]


def text_bytes(array: Array) -> int:
    """Return the size of a tensor of strings on the wire: UTF-8, and 4 bytes for the length of each."""
    return sum(len(str(one).encode()) + 4 for one in array.flat)


def observe(
    model: Model,
    names: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    given: Mapping[str, Array] | None,
) -> Observation:
    """Run a model once and read type and shape of the named values.

    Parameters
    ----------
    model : Model
    names : sequence of str
    shapes, dtypes : mapping
        Of the inputs.
    given : mapping of str to numpy.ndarray, optional
        A user's inputs; random ones if not given.

    Raises
    ------
    ModelError
        No input can be made up, the run fails, or it does not end.
    """
    import onnxruntime

    feeds = random_inputs(shapes, dtypes) if given is None else given
    outputs = {value.name for value in model.proto.graph.output}
    asked = GraphProto(output=[ValueInfoProto(name=name) for name in names if name not in outputs])
    # The runtime's own values cannot be made of strings, but an initializer of an input's name is its default.
    texts = {name: np.asarray(feeds[name], np.object_) for name, dtype in dtypes.items() if dtype == "string"}
    asked.initializer.extend(numpy_helper.from_array(array, name) for name, array in texts.items())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    for key, entry in (session_entries(model) | _ONE_RUN).items():
        options.add_session_config_entry(key, entry)
    limit_s = _LIMIT_S + _LIMIT_S_PER_BYTE * _weight_bytes(model)
    run = onnxruntime.RunOptions()
    overdue = threading.Timer(limit_s, lambda: setattr(run, "terminate", True))
    overdue.daemon = True
    try:
        # The weights lie in what is held, which has to outlive the run.
        bare, held = resident(model.proto, options)
        bare.graph.MergeFrom(asked)
        session = onnxruntime.InferenceSession(bare.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = {name: runtime_value(array, dtypes[name]) for name, array in feeds.items() if name not in texts}
        overdue.start()
        found = session.run_with_ort_values(list(names), values, run)
        held.clear()
    except Exception as error:  # the runtime's exceptions share no public base class
        if run.terminate:
            raise ModelError(
                f"model '{model.name}': some shapes can only be found by running it, and the run took longer than "
                f"{limit_s:.3g} s; pass smaller dims, or inputs={{...}} or --input FILE.npz on which its loops end soon"
            ) from error
        advice = (
            "pass inputs={...} or --input FILE.npz with values that the model takes"
            if given is None
            else "the model does not take the values of the given inputs"
        )
        raise ModelError(
            f"model '{model.name}': some shapes can only be found by running it, and the run failed: "
            f"{runtime_reason(error)}; {advice}"
        ) from error
    finally:
        overdue.cancel()
    seen: dict[str, tuple[str, tuple[int, ...]]] = {}
    lengths: dict[str, int] = {}
    no_tensors: set[str] = set()
    for name, value in zip(names, found, strict=True):
        if not value.has_value() or not value.is_tensor():
            no_tensors.add(name)
            continue
        dtype = dtype_of_runtime(value.data_type())
        if dtype is not None:
            seen[name] = (dtype, tuple(value.shape()))
        if dtype == "string":
            lengths[name] = text_bytes(value.numpy())
    return Observation(seen, lengths, frozenset(no_tensors))


def _weight_bytes(model: Model) -> int:
    named = ((dtype_name(tensor.data_type), tuple(tensor.dims)) for tensor in model.proto.graph.initializer)
    return sum(size_bytes(dtype, dims) for dtype, dims in named if dtype is not None)
