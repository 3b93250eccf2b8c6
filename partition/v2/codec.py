"""Messages of the protocol: infer requests and responses, as JSON with or without binary tensors behind it.

A body is a JSON object and then, back to back in the order of its tensors, the data of those that have the parameter
``binary_data_size``. The header ``Inference-Header-Content-Length`` says where the JSON ends; without it, all is JSON.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from partition.v2.datatypes import NUMPY_TYPES, STRINGS, datatype_of_array
from partition.v2.errors import ProtocolError, shown
from partition.v2.input_codec import codec_parameters, codecs_of, wire_array
from partition.v2.tensors import Array, Bytes, encoded_bytes, from_bytes, from_json, read_shape, to_bytes, to_json

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
"""The header that tells the bytes of JSON in front of binary data."""
LARGEST_JSON_BYTES = 16 * 1024 * 1024
"""JSON beyond this is refused: read into Python it takes many times as much memory."""

_LONGEST_ID = 1024
# Each of these would change what a request means, so it is not passed over.
_REFUSED_PARAMETERS = ("sequence_id", "shared_memory_region", "shared_memory_byte_size", "classification")


@dataclass(frozen=True, slots=True)
class Message:
    """A body, ready to be sent.

    Attributes
    ----------
    chunks : tuple of bytes or memoryview
        One after the other; the tensors are views of the arrays, so these must not change until it is sent.
    size_bytes : int
        Of all chunks.
    json_bytes : int or None
        Where the JSON ends, if binary data follow.
    """

    chunks: tuple[Bytes, ...]
    size_bytes: int
    json_bytes: int | None

    @property
    def headers(self) -> dict[str, str]:
        """What the HTTP headers have to say of it."""
        kind = "application/json" if self.json_bytes is None else "application/octet-stream"
        headers = {"Content-Type": kind, "Content-Length": str(self.size_bytes)}
        return headers if self.json_bytes is None else headers | {JSON_LENGTH_HEADER: str(self.json_bytes)}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client asks for.

    Attributes
    ----------
    inputs : dict of str to numpy.ndarray
        Views of the body where that is possible.
    outputs : dict of str to bool, or None
        The outputs that are wanted, each with whether it is wanted as binary data; None for all.
    binary : bool
        Whether outputs that are not named are wanted as binary data.
    request_id : str
        Comes back in the response; empty if the client gave none.
    parameters : dict
        As the client sent them; JSON values.
    codecs : dict of str to str
        The inputs that come encoded, each with the name of its codec; they are arrays of one element, the bytes.
    """

    inputs: dict[str, Array]
    outputs: dict[str, bool] | None
    binary: bool
    request_id: str
    parameters: dict[str, Any]
    codecs: dict[str, str]


@dataclass(frozen=True, slots=True)
class InferResponse:
    """What a server answered; the outputs are views of the body where that is possible."""

    model_name: str
    outputs: dict[str, Array]
    request_id: str
    parameters: dict[str, Any]


def encode_request(
    inputs: Mapping[str, Array],
    *,
    outputs: Iterable[str] | None = None,
    binary: bool = True,
    request_id: str = "",
    encoded: Mapping[str, tuple[str, bytes]] | None = None,
) -> Message:
    """Write an infer request.

    Parameters
    ----------
    inputs : mapping of str to numpy.ndarray
    outputs : iterable of str, optional
        Those that are wanted; all if not given.
    binary : bool
        Whether tensors go, and are asked for, as binary data.
    request_id : str
    encoded : mapping of str to (str, bytes), optional
        Further inputs, each by the name of its codec and what that made of it; they always go as binary data.

    Raises
    ------
    partition.InputError
        An array of a type that does not travel; without `binary` also float16, NaN and infinities.
    """
    content: dict[str, Any] = {"id": request_id} if request_id else {}
    encoded = encoded or {}
    sent = dict(inputs) | {name: wire_array(one) for name, (_, one) in encoded.items()}
    content["inputs"], data = _described(sent, {name: binary or name in encoded for name in sent})
    parameters: dict[str, Any] = codec_parameters({name: codec for name, (codec, _) in encoded.items()})
    if outputs is not None:
        content["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    elif binary:
        parameters["binary_data_output"] = True
    if parameters:
        content["parameters"] = parameters
    return _message(content, data)


def encode_response(
    model_name: str,
    outputs: Mapping[str, Array],
    *,
    binary: Mapping[str, bool],
    request_id: str = "",
    parameters: Mapping[str, Any] | None = None,
    version: str = "1",
) -> Message:
    """Write an infer response; `binary` tells of each output whether it goes as binary data.

    Raises
    ------
    partition.InputError
        An array of a type that does not travel, or not in JSON.
    """
    content: dict[str, Any] = {"model_name": model_name, "model_version": version}
    if request_id:
        content["id"] = request_id
    if parameters:
        content["parameters"] = dict(parameters)
    content["outputs"], data = _described(outputs, binary)
    return _message(content, data)


def _described(tensors: Mapping[str, Array], binary: Mapping[str, bool]) -> tuple[list[dict[str, Any]], list[Bytes]]:
    described: list[dict[str, Any]] = []
    data: list[Bytes] = []
    for name, array in tensors.items():
        datatype = datatype_of_array(array, name)
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype}
        if binary[name]:
            content = to_bytes(array, datatype, name)
            entry["parameters"] = {"binary_data_size": len(content)}
            data.append(content)
        else:
            entry["data"] = to_json(array, datatype, name)
        described.append(entry)
    return described, data


def _message(content: dict[str, Any], data: list[Bytes]) -> Message:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    if not data:
        return Message((text,), len(text), None)
    return Message((text, *data), len(text) + sum(map(len, data)), len(text))


def decode_request(body: Bytes, json_length: str | int | None = None) -> InferRequest:
    """Read an infer request.

    Parameters
    ----------
    body : bytes-like
        The whole body; the inputs are views of it, copied only where they are not aligned.
    json_length : str or int, optional
        The header ``Inference-Header-Content-Length``, if there is one.

    Raises
    ------
    ProtocolError
        Status 400; the message says what is wrong.
    """
    content, data = _parts(body, json_length)
    request_id = _text(content, "id", "the request", "")
    if len(request_id) > _LONGEST_ID:
        raise ProtocolError(f"the request's id has {len(request_id)} characters; at most {_LONGEST_ID} are legal")
    parameters = _parameters(content, "the request")
    binary = _flag(parameters, "binary_data_output", "the request")
    codecs = codecs_of(parameters)
    inputs = _read_tensors(content, "inputs", data, encoded=codecs)
    missing = next((name for name in codecs if name not in inputs), None)
    if missing is not None:
        raise ProtocolError(f"a codec is named for the input {shown(missing)}, which is not in the request")
    outputs: dict[str, bool] | None = None
    if "outputs" in content:
        outputs = {}
        for entry in _entries(content, "outputs"):
            name = _name(entry, outputs, "output")
            own = _parameters(entry, f"output {shown(name)}")
            outputs[name] = _flag(own, "binary_data", f"output {shown(name)}", default=binary)
    return InferRequest(inputs, outputs or None, binary, request_id, parameters, codecs)


def decode_response(body: Bytes, json_length: str | int | None = None) -> InferResponse:
    """Read an infer response; parameters as of `decode_request`.

    Raises
    ------
    ProtocolError
        Status 502; the message says what is wrong.
    """
    try:
        content, data = _parts(body, json_length)
        return InferResponse(
            _text(content, "model_name", "the response", ""),
            _read_tensors(content, "outputs", data),
            _text(content, "id", "the response", ""),
            _parameters(content, "the response"),
        )
    except ProtocolError as error:
        raise ProtocolError(f"the server's response cannot be read: {error}", 502) from error


def read_json(content: Bytes, what: str = "the body") -> dict[str, Any]:
    """Read a JSON object from outside: strict JSON, without NaN and without any key twice.

    Raises
    ------
    ProtocolError
    """
    if len(content) > LARGEST_JSON_BYTES:
        raise ProtocolError(
            f"{what} holds {len(content)} bytes of JSON; at most {LARGEST_JSON_BYTES} are read: send binary data", 413
        )
    try:
        value = json.loads(bytes(content).decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_object)
    except ProtocolError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:120]
        raise ProtocolError(f"{what} is not valid JSON: {reason}") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} holds a JSON {type(value).__name__}; legal is an object")
    return value


def _refuse_constant(text: str) -> Any:
    raise ProtocolError(f"the JSON holds {text}, which is not JSON; send binary data")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ProtocolError("the JSON holds an object with the same key twice")
    return found


def _parts(body: Bytes, json_length: str | int | None) -> tuple[dict[str, Any], memoryview]:
    """Divide a body into its JSON and its binary data."""
    view = memoryview(body)
    end = len(view)
    if json_length is not None:
        text = str(json_length)
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) <= len(view)):
            raise ProtocolError(
                f"{JSON_LENGTH_HEADER} is {shown(text)}; legal is a whole number up to the body's {len(view)} bytes"
            )
        end = int(text)
    return read_json(view[:end]), view[end:]


def _read_tensors(
    content: dict[str, Any], key: str, data: memoryview, *, encoded: Collection[str] = ()
) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    place = 0
    for entry in _entries(content, key):
        name = _name(entry, tensors, key[:-1])
        datatype = entry.get("datatype")
        if not isinstance(datatype, str) or datatype not in NUMPY_TYPES:
            raise ProtocolError(
                f"tensor {shown(name)} has datatype {shown(datatype)}; legal are {', '.join(NUMPY_TYPES)}"
            )
        shape = read_shape(entry.get("shape"), name)
        size = _parameters(entry, f"tensor {shown(name)}").get("binary_data_size")
        if (size is None) == ("data" not in entry):
            raise ProtocolError(f"tensor {shown(name)} needs either 'data' or the parameter 'binary_data_size'")
        if name in encoded and (size is None or datatype != STRINGS or shape != (1,)):
            raise ProtocolError(
                f"tensor {shown(name)} comes encoded, but as {datatype} of shape {list(shape)}"
                f"{' in JSON' * (size is None)}; legal is BYTES of shape [1] as binary data"
            )
        if size is None:
            tensors[name] = from_json(entry["data"], datatype, shape, name)
            continue
        if type(size) is not int or not 0 <= size <= len(data) - place:
            raise ProtocolError(
                f"tensor {shown(name)} has binary_data_size {shown(size)}, but {len(data) - place} bytes of binary "
                "data are left"
            )
        own = data[place : place + size]
        tensors[name] = (
            wire_array(encoded_bytes(own, name)) if name in encoded else from_bytes(own, datatype, shape, name)
        )
        place += size
    if place != len(data):
        raise ProtocolError(f"{len(data) - place} bytes of binary data belong to no tensor")
    return tensors


def _entries(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ProtocolError(f"'{key}' is missing or is not a list of objects")
    return entries


def _name(entry: dict[str, Any], known: Mapping[str, object], what: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise ProtocolError(f"an {what} has the name {shown(name)}; legal is text")
    if name in known:
        raise ProtocolError(f"{what} {shown(name)} is there twice")
    return name


def _text(content: dict[str, Any], key: str, what: str, default: str) -> str:
    value = content.get(key, default)
    if not isinstance(value, str):
        raise ProtocolError(f"{key} of {what} is {shown(value)}; legal is text")
    return value


def _parameters(content: dict[str, Any], what: str) -> dict[str, Any]:
    parameters = content.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ProtocolError(f"the parameters of {what} are {shown(parameters)}; legal is an object")
    refused = next((name for name in _REFUSED_PARAMETERS if parameters.get(name)), None)
    if refused is not None:
        raise ProtocolError(f"{what} has the parameter {refused}, which is not supported here; leave it out")
    return parameters


def _flag(parameters: dict[str, Any], key: str, what: str, *, default: bool = False) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise ProtocolError(f"{key} of {what} is {shown(value)}; legal are true and false")
    return value
