"""The models of a server: the stages of saved plans, each as one model, their parts open in the runtime."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from graph_io import runtime_reason
from partition.errors import InputError
from partition.exits.policy import REST_FOLDER, is_policy_folder
from partition.model_parts import ModelParts
from partition.plan import Plan, Runnable
from partition.plan_records import TensorInfo
from partition.runtime.parts import open_part, session_options
from partition.runtime.session import open_step
from partition.v2.datatypes import NUMPY_TYPES, datatype_of_onnx
from partition.v2.errors import ProtocolError, shown
from partition.v2.input_codec import CODECS_PARAMETER, InputCodec, checked_codec, decoded, known
from partition.v2.names import VERSION, StageInterface, stage_interface
from partition.v2.tensors import Array


@dataclass(frozen=True, slots=True)
class ServedTensor:
    """A tensor as the protocol describes it; a dimension of -1 is open."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def check(self, array: Array) -> None:
        """Refuse an array of another type or shape.

        Raises
        ------
        ProtocolError
        """
        if array.dtype != NUMPY_TYPES[self.datatype]:
            raise ProtocolError(f"input '{self.name}' has type {array.dtype}; the model takes {self.datatype}")
        if len(self.shape) != array.ndim or any(
            size not in (-1, got) for size, got in zip(self.shape, array.shape, strict=True)
        ):
            raise ProtocolError(
                f"input '{self.name}' has shape {list(array.shape)}; the model takes {list(self.shape)}"
            )


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Parts that run one after the other, as one model.

    Attributes
    ----------
    name : str
        It tells the very files; see `partition.v2.names.stage_name`.
    inputs, outputs : dict of str to ServedTensor
    files : tuple of str
        Paths of the parts.
    codecs : dict of str to dict
        Of inputs that may come encoded, the codecs by name.
    """

    name: str
    inputs: dict[str, ServedTensor]
    outputs: dict[str, ServedTensor]
    files: tuple[str, ...]
    _steps: tuple[Any, ...]
    codecs: dict[str, dict[str, InputCodec]] = field(default_factory=dict)

    def check(
        self, inputs: Mapping[str, Array], outputs: Collection[str], codecs: Mapping[str, str] | None = None
    ) -> None:
        """Refuse tensors that are not the model's.

        Parameters
        ----------
        inputs : mapping of str to numpy.ndarray
        outputs : collection of str
        codecs : mapping of str to str, optional
            The inputs that come encoded, each with the name of its codec; `decode` checks what is in them.

        Raises
        ------
        ProtocolError
        """
        for name in inputs:
            if name not in self.inputs:
                raise ProtocolError(f"input {shown(name)} is unknown; the model takes {', '.join(self.inputs)}")
        for name, tensor in self.inputs.items():
            if name not in inputs:
                raise ProtocolError(f"input '{name}' is missing; the model takes {', '.join(self.inputs)}")
            codec = (codecs or {}).get(name)
            if codec is None:
                tensor.check(inputs[name])
            elif codec not in self.codecs.get(name, {}):
                raise ProtocolError(
                    f"input '{name}' comes encoded by the codec {shown(codec)}, which this server does not have for "
                    f"it; its codecs are {known(self.codecs.get(name, {}))}: start it with that one (--codec)"
                )
        for name in outputs:
            if name not in self.outputs:
                raise ProtocolError(f"output {shown(name)} is unknown; the model gives {', '.join(self.outputs)}")

    def decode(self, inputs: Mapping[str, Array], codecs: Mapping[str, str]) -> dict[str, Array]:
        """Return the inputs, those decoded that come encoded, after `check`.

        Raises
        ------
        ProtocolError
            A codec cannot read what came, or makes of it an array that the model does not take.
        """
        found = dict(inputs)
        for name, codec in codecs.items():
            try:
                found[name] = decoded(self.codecs[name][codec], name, inputs[name][0])
            except InputError as error:
                raise ProtocolError(str(error)) from error
            self.inputs[name].check(found[name])
        return found

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the parts in order on inputs that were checked, and return all outputs.

        Raises
        ------
        ProtocolError
            Status 500: the runtime failed.
        """
        values: dict[str, Any] = dict(inputs)
        for step in self._steps:
            try:
                produced = step.run({name: values[name] for name in step.inputs})
            except Exception as error:  # the runtime's exceptions share no public base class
                raise ProtocolError(f"{step.name} failed in onnxruntime: {runtime_reason(error)}", 500) from error
            values.update(zip(step.outputs, produced, strict=True))
        return {name: values[name] for name in self.outputs}

    def metadata(self) -> dict[str, Any]:
        """Return what the protocol tells of a model."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": "onnxruntime_onnx",
            "inputs": [_described(tensor, self.codecs.get(tensor.name, {})) for tensor in self.inputs.values()],
            "outputs": [_described(tensor) for tensor in self.outputs.values()],
        }


def _described(tensor: ServedTensor, codecs: Collection[str] = ()) -> dict[str, Any]:
    content = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    return content | {"parameters": {CODECS_PARAMETER: ",".join(codecs)}} if codecs else content


def open_models(
    folders: Sequence[str | os.PathLike[str]],
    *,
    all_parts: bool = False,
    threads: int | None = None,
    codecs: Iterable[InputCodec] = (),
) -> dict[str, ServedModel]:
    """Open what saved folders hold for a server.

    Parameters
    ----------
    folders : sequence of path
        Saved plans and models in parts. Of a plan each stage on the server is a model, those of all placements that it
        adapts by; of a model in parts, each part.
    all_parts : bool
        Every run of consecutive parts is a model, too: for clients that move the cut. Each part is opened once.
    threads : int, optional
        Of each part's session; if not given those of the plan's server as far as there are processors, else the
        runtime's choice.
    codecs : iterable of InputCodec
        By which inputs may come that a plan was priced with as encoded.

    Returns
    -------
    dict of str to ServedModel
        By name, in the order of the folders.

    Raises
    ------
    InputError
        A folder that cannot be loaded, that has nothing for a server, or whose tensors do not travel; an encoded input
        without any codec.
    """
    from partition.saved import load_saved

    decoders = _by_name(codecs)
    if not folders:
        raise InputError("no folder was given; pass at least one that `split` or `parts` wrote")
    models: dict[str, ServedModel] = {}
    weights_of: dict[str, object] = {}
    steps: dict[str, Any] = {}
    for folder in map(Path, folders):
        # The name of a stage stands for the contents of all files, so they are read.
        plan = load_saved(folder, check_weights=True)
        encoded = plan.sent_encoded_input
        if encoded is not None and not decoders:
            raise InputError(
                f"the plan in '{folder}' sends input '{encoded}' as {plan.encoded_inputs[encoded]} encoded bytes, and "
                "the server has no decoder for it; give one (--codec, codecs=), or plan again without input_bytes"
            )
        own_threads = threads
        if threads is None and isinstance(plan, Plan) and plan.server.threads is not None:
            own_threads = min(plan.server.threads, os.cpu_count() or 1)
        for numbers in _runs(plan, folder, all_parts=all_parts):
            stage = stage_interface(plan, numbers)
            parts = [plan.parts[number] for number in numbers]
            weights = [(one.size_bytes, one.sha256) for part in parts for one in part.weights_files]
            if stage.name in models:
                # From another folder: the same files are served once.
                if weights_of[stage.name] != weights:
                    raise InputError(f"'{folder}' holds '{stage.name}' again, with other weights; serve one of them")
                models[stage.name].codecs.update(_decodable(plan, stage, decoders))
                continue
            files = [os.path.realpath(folder / part.file) for part in parts]
            for file, part in zip(files, parts, strict=True):
                if file not in steps:
                    steps[file] = open_step(part.file, open_part(file, file, session_options(threads=own_threads)))
                    if set(steps[file].inputs) != {tensor.name for tensor in part.inputs}:
                        raise InputError(f"part '{file}' takes other tensors than its plan says; save the plan again")
            models[stage.name] = replace(
                _served(stage, files, [steps[file] for file in files]), codecs=_decodable(plan, stage, decoders)
            )
            weights_of[stage.name] = weights
    return models


def _by_name(codecs: Iterable[InputCodec]) -> dict[str, InputCodec]:
    found: dict[str, InputCodec] = {}
    for codec in codecs:
        name = checked_codec(codec, "a codec").name
        if name in found:
            raise InputError(f"two codecs have the name '{name}'; give each a name of its own")
        found[name] = codec
    return found


def _decodable(
    plan: Runnable, stage: StageInterface, decoders: dict[str, InputCodec]
) -> dict[str, dict[str, InputCodec]]:
    """Return the codecs of those inputs of a stage that a plan was priced with as encoded."""
    return {one.name: decoders for one in stage.inputs if decoders and one.name in plan.encoded_inputs}


def _runs(plan: Runnable, folder: Path, *, all_parts: bool) -> Iterator[tuple[int, ...]]:
    """Yield the part numbers of each model that a folder is served as."""
    stages: list[tuple[int, ...]]
    if isinstance(plan, ModelParts):
        stages = [(number,) for number in range(len(plan.parts))]
    else:
        placements = [plan.stages, *(choice.stages for choice in plan.choices)]
        found = [stage.parts for placed in placements for stage in placed if stage.machine == "server" and stage.parts]
        stages = [*dict.fromkeys(found)]
    if not stages and not all_parts:
        raise InputError(_nothing_to_serve(plan, folder))
    yield from stages
    if all_parts:
        for first, end in combinations(range(len(plan.parts) + 1), 2):
            run = tuple(range(first, end))
            if run not in stages:
                yield run


def _nothing_to_serve(plan: Runnable, folder: Path) -> str:
    """Say why a plan has nothing for a server, and how to get something all the same."""
    if folder.name == REST_FOLDER and is_policy_folder(folder.parent):
        return (
            f"the policy in '{folder.parent}' keeps everything on the device, the best rest for these costs, so there "
            "is nothing to serve; run it without a server, or choose again for a faster link"
        )
    chosen = isinstance(plan, Plan) and plan.chosen_by == "solver"
    best = f"the best plan for these costs, that in '{folder}'," if chosen else f"the plan in '{folder}'"
    return (
        f"{best} keeps everything on the device, so there is nothing to serve; `dnn-partition split ... --cut TENSOR` "
        "(cut=) chooses a tail all the same, and `dnn-partition inspect` lists the tensors to cut at"
    )


def _served(stage: StageInterface, files: Sequence[str], steps: Sequence[Any]) -> ServedModel:
    inputs = {tensor.name: tensor for tensor in stage.inputs}
    outputs = {tensor.name: tensor for tensor in stage.outputs}
    taken: dict[str, ServedTensor] = {}
    given: dict[str, ServedTensor] = {}
    for step in steps:
        for value in step.session.get_inputs():
            if value.name in inputs:
                taken[value.name] = _tensor(value, inputs[value.name])
        for value in step.session.get_outputs():
            if value.name in outputs:
                given[value.name] = _tensor(value, outputs[value.name])
    return ServedModel(
        stage.name,
        {name: taken[name] for name in inputs},
        {name: given[name] for name in outputs},
        tuple(files),
        tuple(steps),
    )


def _tensor(value: Any, planned: TensorInfo) -> ServedTensor:
    """Describe a tensor by what the runtime says of it, and its rank by the plan where the runtime knows none."""
    dims = list(value.shape)
    if len(dims) != len(planned.shape):
        dims = [None] * len(planned.shape)
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in dims)
    return ServedTensor(value.name, datatype_of_onnx(value.type, value.name), shape)
