"""A stage of a saved plan as a model of Triton's python backend: its parts, one after the other, in ONNX Runtime.

`dnn-partition export --backend python` copies this file beside the parts. It needs NumPy and onnxruntime alone; the
names of the parts, and what else it has to know, are in the parameters of ``config.pbtxt``.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class TritonPythonModel:
    """What Triton makes an instance of, and calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the parts."""
        import onnxruntime  # noqa: TID251
        import triton_python_backend_utils as triton  # type: ignore[import-not-found]

        config = json.loads(args["model_config"])
        told = {name: value["string_value"] for name, value in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = int(told.get("intra_op_thread_count", "0"))
        self._triton = triton
        self._wrap = onnxruntime.OrtValue.ortvalue_from_numpy
        self._parts = [
            _Part(onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"]))
            for file in json.loads(told["parts"])
        ]
        # Triton knows no tensors without dimensions; they travel with one of size 1.
        self._scalars = frozenset(json.loads(told["scalars"]))
        self._inputs = {one["name"]: one["data_type"] for one in config["input"]}
        self._outputs = [one["name"] for one in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests, each with its outputs or what went wrong."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        triton = self._triton
        try:
            outputs = self._run({name: self._taken(request, name) for name in self._inputs})
            wanted = set(request.requested_output_names())
            given = {name: self._given(name, outputs[name]) for name in self._outputs if name in wanted}
        except Exception as error:  # the runtime's exceptions share no public base class
            return triton.InferenceResponse(output_tensors=[], error=triton.TritonError(str(error)))
        return triton.InferenceResponse(output_tensors=[triton.Tensor(name, value) for name, value in given.items()])

    def _taken(self, request: Any, name: str) -> Any:
        value = self._triton.get_input_tensor_by_name(request, name).as_numpy()
        if self._inputs[name] == "TYPE_STRING":
            texts = [one.decode("utf-8") for one in value.reshape(-1)]
            value = np.array(texts, np.object_).reshape(value.shape)
        return value.reshape(()) if name in self._scalars else value

    def _given(self, name: str, value: Any) -> Any:
        if value.dtype.kind in "OU":
            texts = [str(one).encode("utf-8") for one in value.reshape(-1)]
            value = np.array(texts, np.object_).reshape(value.shape)
        return value.reshape(1) if name in self._scalars else value

    def _run(self, values: dict[str, Any]) -> dict[str, Any]:
        for part in self._parts:
            feeds = {name: values[name] for name in part.inputs}
            values.update(zip(part.outputs, part.run(feeds, self._wrap), strict=True))
        return values


class _Part:
    """An open part and what it takes and gives."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = [one.name for one in session.get_inputs()]
        self.outputs = [one.name for one in session.get_outputs()]
        self._gives_arrays = [one.type in _IN_NUMPY for one in session.get_outputs()]
        self._takes_arrays = all(one.type in _IN_NUMPY for one in session.get_inputs())

    def run(self, feeds: dict[str, Any], wrap: Callable[[Any], Any]) -> list[Any]:
        if self._takes_arrays and all(self._gives_arrays):
            outputs: list[Any] = self._session.run(self.outputs, feeds)
            return outputs
        # What NumPy has no type for goes from part to part in the runtime's own containers.
        wrapped = {name: wrap(value) if isinstance(value, np.ndarray) else value for name, value in feeds.items()}
        results = self._session.run_with_ort_values(self.outputs, wrapped)
        kinds = zip(results, self._gives_arrays, strict=True)
        return [value.numpy() if is_array else value for value, is_array in kinds]


_INTEGERS = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_IN_NUMPY = {f"tensor({name})" for name in ("bool", "double", "float", "float16", "string", *_INTEGERS)}
