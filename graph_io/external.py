"""Weights that lie in files beside a model: found, checked, and left there until somebody needs their values.

A reference may only lead to a file inside the model's folder, links followed. The folder is the one that the path
names, or the one that the model's file really lies in: a download cache holds links to both the model and its data.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import uses_external_data

from graph_io.dtypes import dtype_name, size_bytes
from graph_io.errors import ModelError

if TYPE_CHECKING:
    from graph_io.model import Model

SMALL_BYTES = 4096
"""Up to this size an initializer may steer a fusion or a shape (a scale, an axis), so its value is always there."""
# protobuf cannot write a message of 2 GiB or more.
LARGEST_MESSAGE_BYTES = 2**31 - 1
_FOLDER_OPTION = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the bytes of a tensor lie: `location` is relative to the model's `weights` folder, with slashes.

    Attributes
    ----------
    location : str
    offset, length : int
    """

    location: str
    offset: int
    length: int


def reference(tensor: TensorProto) -> Reference:
    """Return where a tensor lies whose reference `adopt_references` or `set_reference` wrote."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return Reference(entries["location"], int(entries["offset"]), int(entries["length"]))


def set_reference(tensor: TensorProto, place: Reference) -> None:
    """Let a tensor lie in a file."""
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place.location), ("offset", place.offset), ("length", place.length)):
        tensor.external_data.add(key=key, value=str(value))


def embed(proto: ModelProto, folder: Path) -> ModelProto:
    """Copy a model whose weights lie in files of a folder, with these weights in it.

    Raises
    ------
    ModelError
        A file that cannot be read, or weights of more than 2.1 GB, which no such model can hold.
    """
    copy = ModelProto()
    copy.CopyFrom(proto)
    size = sum(stored_bytes(tensor) for tensor in copy.graph.initializer)
    if size > LARGEST_MESSAGE_BYTES:
        raise ModelError(f"{size / 1e9:.2f} GB of weights do not fit into one model file; keep them as external data")
    for tensor in referencing(copy):
        place = reference(tensor)
        try:
            content = _read(folder / place.location, place.offset, place.length)
        except OSError as error:
            raise ModelError(
                f"weights '{folder / place.location}' cannot be read: {error.strerror or error}"
            ) from error
        _store_inline(tensor, content)
    return copy


def references(content: "bytes | Model") -> tuple[Reference, ...]:
    """Return the places of all weights outside a serialised model, or one that was loaded, each once, in its order."""
    proto = ModelProto.FromString(content) if isinstance(content, bytes) else content.proto
    return tuple(dict.fromkeys(reference(tensor) for tensor in referencing(proto)))


def move_references(content: bytes, moved: Mapping[Reference, Reference]) -> bytes:
    """Return a serialised model that reads its weights from other places, each of which holds the same bytes."""
    proto = ModelProto.FromString(content)
    for tensor in referencing(proto):
        set_reference(tensor, moved[reference(tensor)])
    return proto.SerializeToString()


def referencing(proto: ModelProto) -> Iterator[TensorProto]:
    """Yield the initializers of the main graph that lie in files."""
    return (tensor for tensor in proto.graph.initializer if uses_external_data(tensor))


def stored_bytes(tensor: TensorProto) -> int:
    """Return the size of a normalised initializer, wherever it lies; 0 for a short one in typed fields."""
    if uses_external_data(tensor):
        return reference(tensor).length
    if not tensor.HasField("raw_data"):
        return 0
    dtype = dtype_name(tensor.data_type)
    # By the shape where it can be: looking at the data would copy all of it.
    return len(tensor.raw_data) if dtype is None else size_bytes(dtype, tuple(tensor.dims))


def has_references(proto: ModelProto) -> bool:
    """Say whether any tensor of a model, of its bodies, attributes and functions too, lies in a file."""
    return any(uses_external_data(tensor) for tensor in (*proto.graph.initializer, *_other_tensors(proto)))


def session_entries(model: "Model") -> dict[str, str]:
    """Return the runtime's session entries by which it finds the weights of a model that it gets as bytes."""
    return folder_entries(model.weights)


def folder_entries(folder: Path | None) -> dict[str, str]:
    """Return the same for weights that lie in a folder; empty for None."""
    return {} if folder is None else {_FOLDER_OPTION: str(folder)}


def adopt_references(proto: ModelProto, path: Path) -> Path | None:
    """Check every reference of a model that was read from a file, and bring those that stay into one form.

    Parameters
    ----------
    proto : onnx.ModelProto
        Changed in place: small tensors, and all that are not initializers of the main graph, are read in. The others
        get a location relative to the folder returned, an offset and a length.
    path : pathlib.Path
        Where it was read from.

    Returns
    -------
    pathlib.Path or None
        The folder, links resolved; None if no reference is left.

    Raises
    ------
    ModelError
        A reference that leaves the model's folder, or to something other than a file, or past the file's end, or of
        another size than the tensor's; a file that cannot be read.
    """
    finder = _Finder(path)
    lasting: list[tuple[TensorProto, _Place]] = []
    read_bytes = 0
    may_stay = [(tensor, True) for tensor in proto.graph.initializer]
    for tensor, stays in (*may_stay, *((other, False) for other in _other_tensors(proto))):
        if not uses_external_data(tensor):
            continue
        place = finder.find(tensor)
        if stays and place.length > SMALL_BYTES:
            lasting.append((tensor, place))
            continue
        read_bytes += place.length
        if read_bytes > LARGEST_MESSAGE_BYTES:
            raise finder.refusal(
                tensor, "has to be read, as all of bodies and attributes, which exceed 2.1 GB together"
            )
        _store_inline(tensor, finder.read(tensor, place))
    if not lasting:
        return None
    folder = finder.common_folder(place.file for _, place in lasting)
    for tensor, place in lasting:
        set_reference(tensor, Reference(place.file.relative_to(folder).as_posix(), place.offset, place.length))
    return folder


@dataclass(frozen=True, slots=True)
class _Place:
    file: Path
    offset: int
    length: int


class _Finder:
    """Resolves the references of one model; each file is looked at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folders = tuple(
            dict.fromkeys((Path(os.path.realpath(path.parent)), Path(os.path.realpath(path)).parent)).keys()
        )
        self._files: dict[str, tuple[Path, int]] = {}

    def refusal(self, tensor: TensorProto, problem: str) -> ModelError:
        return ModelError(f"model '{self._path}': its external data cannot be read: tensor '{tensor.name}' {problem}")

    def find(self, tensor: TensorProto) -> _Place:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in self._files:
            self._files[location] = self._look_at(tensor, location)
        file, file_bytes = self._files[location]
        offset = self._number(tensor, "offset", entries.get("offset", "0"))
        dtype = dtype_name(tensor.data_type)
        if dtype is None or tensor.data_type == TensorProto.STRING or min(tensor.dims, default=0) < 0:
            raise self.refusal(tensor, "has a type without a fixed size or a negative dimension; export it again")
        size = size_bytes(dtype, tuple(tensor.dims))
        # Not said, or 0 in some exporters' files, means as long as the tensor.
        length = self._number(tensor, "length", entries.get("length", "0")) or size
        if length != size:
            raise self.refusal(tensor, f"has {length} bytes there, but its shape and type take {size}")
        if offset + length > file_bytes:
            raise self.refusal(
                tensor,
                f"lies at bytes {offset} to {offset + length} of '{location}', which has {file_bytes}; "
                "the file is cut short or another, so export or download it again",
            )
        return _Place(file, offset, length)

    def _number(self, tensor: TensorProto, key: str, text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 19:
            raise self.refusal(tensor, f"has the {key} {text[:40]!r}; legal is a whole number of 0 or more")
        return int(text)

    def _look_at(self, tensor: TensorProto, location: str) -> tuple[Path, int]:
        if not location or "\0" in location:
            raise self.refusal(tensor, f"has the location {location[:80]!r}; legal is the name of a file")
        if os.path.isabs(location):
            raise self.refusal(
                tensor, f"has the absolute location '{location}'; legal is a path inside the model's folder"
            )
        try:
            file = Path(os.path.realpath(self._path.parent / location))
            if not any(file.is_relative_to(folder) for folder in self._folders):
                raise self.refusal(
                    tensor,
                    f"has the location '{location}', which leads out of the model's folder; copy the data beside the "
                    "model, and let the location name it there",
                )
            found = file.stat()
        except OSError as error:
            raise self.refusal(
                tensor, f"lies in '{location}': {error.strerror or error}; put that file beside the model"
            ) from error
        if not stat.S_ISREG(found.st_mode):
            raise self.refusal(tensor, f"has the location '{location}', which is not a file")
        return file, found.st_size

    def read(self, tensor: TensorProto, place: _Place) -> bytes:
        try:
            return _read(place.file, place.offset, place.length)
        except OSError as error:
            raise self.refusal(tensor, f"lies in '{place.file}': {error.strerror or error}") from error

    def common_folder(self, files: Iterable[Path]) -> Path:
        used = set(files)
        for folder in self._folders:
            if all(file.is_relative_to(folder) for file in used):
                return folder
        return Path(os.path.commonpath(self._folders))


def _read(path: Path, offset: int, length: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        content = file.read(length)
    if len(content) != length:
        raise OSError(f"it is shorter than {offset + length} bytes")
    return content


def _store_inline(tensor: TensorProto, content: bytes) -> None:
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    tensor.raw_data = content


def _other_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor of a model but the initializers of its main graph."""
    for sparse in proto.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(proto.graph.node)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _node_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _attribute_tensors(attribute)


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for one in (*sparse, *attribute.sparse_tensors):
        yield from (one.values, one.indices)
    bodies = [attribute.g] if attribute.HasField("g") else []
    for body in (*bodies, *attribute.graphs):
        yield from _graph_tensors(body)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)
