"""Messages of the protocol: what goes in comes out, and what does not fit is refused in one way."""

import json
import math

import numpy as np
import pytest

from partition.errors import InputError
from partition.v2.codec import (
    JSON_LENGTH_HEADER,
    LARGEST_JSON_BYTES,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from partition.v2.datatypes import NUMPY_TYPES, ONNX_TYPES, datatype_of_array, datatype_of_onnx
from partition.v2.errors import ProtocolError
from tests.scale import scaled

SHAPES = [(), (0,), (1,), (3,), (2, 3), (2, 0, 3), (1, 1, 2, 2), (5, 1, 7)]


def array_of(datatype, shape, seed=0):
    generator = np.random.default_rng(seed)
    dtype = NUMPY_TYPES[datatype]
    if datatype == "BYTES":
        words = ["", "a", "grün", "\0", "word" * 9, "😀"]
        flat = np.empty(math.prod(shape), np.object_)
        flat[:] = [words[index] for index in generator.integers(0, len(words), flat.size)]
        return flat.reshape(shape)
    raw = generator.integers(0, 256, math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    if datatype == "BOOL":
        raw %= 2
    return raw.view(dtype).reshape(shape)


def finite(array):
    return np.nan_to_num(array, nan=0.5, posinf=1.0, neginf=-1.0) if array.dtype.kind == "f" else array


def joined(message):
    body = b"".join(map(bytes, message.chunks))
    assert len(body) == message.size_bytes == int(message.headers["Content-Length"])
    return body, message.headers.get(JSON_LENGTH_HEADER)


def same(one, other):
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    if one.dtype.kind == "O":
        np.testing.assert_array_equal(one, other)
    else:
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("datatype", NUMPY_TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_type_and_shape_travels_as_binary_data_to_the_bit(datatype, shape):
    sent = {"a": array_of(datatype, shape), "b": array_of(datatype, (3, 2), seed=1)}
    body, length = joined(encode_request(sent, request_id="7"))
    request = decode_request(body, length)
    assert (request.request_id, request.binary, request.outputs) == ("7", True, None)
    assert list(request.inputs) == ["a", "b"]
    for name, array in sent.items():
        same(request.inputs[name], array)
    message = encode_response("m", sent, binary=dict.fromkeys(sent, True), request_id="7", parameters={"queue_s": 0.5})
    response = decode_response(*joined(message))
    assert (response.model_name, response.request_id, response.parameters) == ("m", "7", {"queue_s": 0.5})
    for name, array in sent.items():
        same(response.outputs[name], array)


@pytest.mark.parametrize("datatype", [name for name in NUMPY_TYPES if name != "FP16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_type_but_float16_travels_as_json_to_the_bit(datatype, shape):
    sent = {"a": finite(array_of(datatype, shape))}
    message = encode_request(sent, binary=False, outputs=["y"])
    assert JSON_LENGTH_HEADER not in message.headers
    body, _ = joined(message)
    request = decode_request(body)
    assert request.outputs == {"y": False}
    if datatype.startswith("FP"):
        np.testing.assert_array_equal(request.inputs["a"], sent["a"])  # -0.0 and 0.0 are equal
    else:
        same(request.inputs["a"], sent["a"])
    nested = json.loads(body)
    nested["inputs"][0]["data"] = sent["a"].tolist() if shape else [sent["a"].item()]
    same(decode_request(json.dumps(nested).encode()).inputs["a"], request.inputs["a"])


def test_mixed_forms_in_one_message():
    outputs = {"p": np.arange(3.0), "q": np.array([True, False]), "r": np.float32([[1, 2]])}
    message = encode_response("m", outputs, binary={"p": False, "q": True, "r": True})
    back = decode_response(*joined(message)).outputs
    for name, array in outputs.items():
        same(back[name], array)


def test_arrays_are_views_of_what_came_and_of_what_goes():
    array = np.arange(1000, dtype=np.float32)
    message = encode_request({"x": array})
    assert np.shares_memory(np.frombuffer(message.chunks[1], np.uint8), array)
    body, length = joined(message)
    place = np.empty(len(body) + 64, np.uint8)
    start = -(place.ctypes.data + int(length)) % 64
    view = memoryview(place)[start : start + len(body)]
    view[:] = body
    assert np.shares_memory(decode_request(view, length).inputs["x"], place)
    # Elsewhere it is copied, and aligned.
    moved = memoryview(place)[start + 1 : start + 1 + len(body)]
    moved[:] = body
    copied = decode_request(moved, length).inputs["x"]
    assert copied.flags.aligned
    same(copied, array)


def test_strided_arrays_and_texts_travel():
    array = np.arange(24, dtype=np.int64).reshape(4, 6)[::2, ::3]
    texts = np.array([["a", "bc"]])
    body, length = joined(encode_request({"x": array, "s": texts}))
    inputs = decode_request(body, length).inputs
    same(inputs["x"], np.ascontiguousarray(array))
    assert inputs["s"].tolist() == [["a", "bc"]]


def test_types_that_do_not_travel_are_refused():
    for array in (np.zeros(2, np.complex64), np.zeros(2, ">f4"), np.zeros(2, "S3"), np.zeros(2, "M8[s]")):
        with pytest.raises(InputError, match=r"tensor 'x' is of type .*, which does not travel"):
            datatype_of_array(array, "x")
    for name in ("bfloat16", "tensor(float8e4m3fn)", "seq(tensor(float))", "int4"):
        with pytest.raises(InputError, match=r"tensor 'x' is of type .*, which does not travel"):
            datatype_of_onnx(name, "x")
    assert {datatype_of_onnx(f"tensor({name})", "x") for name in ONNX_TYPES} == set(NUMPY_TYPES)
    with pytest.raises(ProtocolError, match="holds a int where strings are"):
        encode_request({"x": np.array([1], object)})
    with pytest.raises(ProtocolError, match="not valid Unicode"):
        encode_request({"x": np.array(["\ud800"], object)})


def test_what_json_cannot_carry_is_refused():
    with pytest.raises(ProtocolError, match="FP16, which JSON cannot carry"):
        encode_request({"x": np.zeros(2, np.float16)}, binary=False)
    with pytest.raises(ProtocolError, match="holds NaN or infinity"):
        encode_response("m", {"x": np.array([np.inf])}, binary={"x": False})


def entry(**changes):
    made = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2.5]} | changes
    return {key: value for key, value in made.items() if value is not ...}


def request_of(*inputs, **more):
    return json.dumps({"inputs": list(inputs)} | more).encode()


BAD_JSON = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"\xff\xfe", "not valid JSON"),
    (b"[" * 100_000, "not valid JSON"),
    (b"[]", "holds a JSON list"),
    (b"1" * 5000, "not valid JSON"),
    (b'{"inputs": [], "inputs": []}', "the same key twice"),
    (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}', "holds NaN"),
    (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [-Infinity]}]}', "holds -Infinity"),
    (b"{}", "'inputs' is missing"),
    (b'{"inputs": 3}', "'inputs' is missing or is not a list"),
    (b'{"inputs": [3]}', "not a list of objects"),
    (request_of(entry(), entry()), "'x' is there twice"),
    (request_of(entry(name=...)), "has the name None"),
    (request_of(entry(name=3)), "has the name 3"),
    (request_of(entry(name="")), "has the name ''"),
    (request_of(entry(datatype="FLOAT")), "has datatype 'FLOAT'"),
    (request_of(entry(datatype=["FP32"])), "has datatype"),
    (request_of(entry(datatype=...)), "has datatype None"),
    (request_of(entry(shape=...)), "has shape None"),
    (request_of(entry(shape=2)), "has shape 2"),
    (request_of(entry(shape=[-2])), "has shape"),
    (request_of(entry(shape=[2.0])), "has shape"),
    (request_of(entry(shape=[True])), "has shape"),
    (request_of(entry(shape=[2**40])), "has shape"),
    (request_of(entry(shape=[1] * 33)), "has shape"),
    (request_of(entry(shape=[2**31 - 1] * 20)), "takes .* values, but 2 came"),
    (request_of(entry(shape=[0, *[2**31 - 1] * 3], data=[])), "too large"),
    (request_of(entry(data=[1])), "takes 2 values, but 1 came"),
    (request_of(entry(data=3)), "no list as its data"),
    (request_of(entry(data=None)), "no list as its data"),
    (request_of(entry(data=["1", "2"])), "holds a str in its data"),
    (request_of(entry(data=[True, False])), "holds a bool"),
    (request_of(entry(data=[1, None])), "holds a NoneType"),
    (request_of(entry(data=[[1], [2]])), "holds a list in its data"),
    (request_of(entry(shape=[2, 2], data=[[1, 2], [3]])), "nested in another way"),
    (request_of(entry(shape=[2, 2], data=[[1, 2], 3])), "nested in another way"),
    (request_of(entry(data=[1, 10**400])), "beyond the range"),
    (request_of(entry(data=[1, 1e300])), "beyond the range"),
    (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1e999]}]}', "beyond the range"),
    (request_of(entry(datatype="UINT8", data=[1, 256])), "beyond the range of UINT8"),
    (request_of(entry(datatype="INT64", data=[1, 2**63])), "beyond the range of INT64"),
    (request_of(entry(datatype="INT8", data=[1, 1.0])), "holds a float"),
    (request_of(entry(datatype="BOOL", data=[0, 1])), "holds a int"),
    (request_of(entry(datatype="BYTES", data=["a", "\ud800"])), "not valid Unicode"),
    (request_of(entry(datatype="FP16")), "JSON cannot carry"),
    (request_of(entry(data=...)), "needs either 'data'"),
    (request_of(entry(parameters={"binary_data_size": 8})), "needs either 'data'"),
    (request_of(entry(parameters=3)), "are 3; legal is an object"),
    (request_of(entry(parameters={"shared_memory_region": "a"})), "shared_memory_region, which is not supported"),
    (request_of(entry(), parameters={"binary_data_output": 1}), "binary_data_output"),
    (request_of(entry(), parameters={"sequence_id": 4}), "sequence_id, which is not supported"),
    (request_of(entry(), id=3), "id of the request is 3"),
    (request_of(entry(), id="x" * 2000), "2000 characters"),
    (request_of(entry(), outputs={}), "'outputs' is missing or is not a list"),
    (request_of(entry(), outputs=[{"name": "y"}, {"name": "y"}]), "'y' is there twice"),
    (request_of(entry(), outputs=[{"name": "y", "parameters": {"binary_data": "yes"}}]), "binary_data of output 'y'"),
    (request_of(entry(), outputs=[{"name": "y", "parameters": {"classification": 3}}]), "classification"),
]


@pytest.mark.parametrize(("body", "message"), BAD_JSON)
def test_bad_json_is_refused(body, message):
    with pytest.raises(ProtocolError, match=message) as caught:
        decode_request(body)
    assert caught.value.status == 400
    assert len(str(caught.value)) < 600


def with_data(data, *inputs, length=None):
    text = request_of(*inputs)
    return text + data, len(text) if length is None else length


def binary(size, **changes):
    return entry(data=..., parameters={"binary_data_size": size}, **changes)


BAD_DATA = [
    (with_data(b"12345678", binary(9)), "has binary_data_size 9, but 8 bytes"),
    (with_data(b"12345678", binary(-1)), "has binary_data_size -1"),
    (with_data(b"12345678", binary(8.0)), "has binary_data_size 8.0"),
    (with_data(b"12345678", binary(True)), "has binary_data_size True"),
    (with_data(b"12345678", binary(2**70)), "has binary_data_size"),
    (with_data(b"12345678", binary(4)), "takes 8 bytes, but 4 came"),
    (with_data(b"12345678", binary(8, shape=[2**31 - 1] * 4)), "takes .* bytes, but 8 came"),
    (with_data(b"1234567890", binary(8)), "2 bytes of binary data belong to no tensor"),
    (with_data(b"12345678", binary(8), binary(8, name="z")), "'z' has binary_data_size 8, but 0 bytes"),
    (with_data(b"\x01\x02", binary(2, datatype="BOOL")), "neither 0 nor 1"),
    (with_data(b"\x01\0\0\0a", binary(5, datatype="BYTES")), "takes at least 8 bytes, but 5 came"),
    (with_data(b"\x09\0\0\0a\0\0\0", binary(8, datatype="BYTES")), "ends within string 0"),
    (with_data(b"\x02\0\0\0ab\0\0", binary(8, datatype="BYTES")), "ends within the length of string 1"),
    (with_data(b"\0\0\0\0\0\0\0\0ab", binary(10, datatype="BYTES")), "has 2 bytes too many"),
    (with_data(b"\x01\0\0\0\xff\0\0\0\0", binary(9, datatype="BYTES")), "string 0 .* not valid UTF-8"),
    (with_data(b"\xff\xff\xff\xff\0\0\0\0", binary(8, datatype="BYTES")), "ends within string 0"),
    (with_data(b"", binary(0, datatype="BYTES", shape=[2**31 - 1])), "takes at least"),
    (with_data(b"", entry(), length=10**6), f"{JSON_LENGTH_HEADER} is '1000000'"),
    (with_data(b"", entry(), length="-1"), f"{JSON_LENGTH_HEADER} is '-1'"),
    (with_data(b"", entry(), length="1e1"), JSON_LENGTH_HEADER),
    (with_data(b"", entry(), length=""), JSON_LENGTH_HEADER),
    (with_data(b"", entry(), length="²"), JSON_LENGTH_HEADER),
    (with_data(b"", entry(), length="9" * 40), JSON_LENGTH_HEADER),
    (with_data(b"", entry(), length=3), "not valid JSON"),
]


@pytest.mark.parametrize(("content", "message"), BAD_DATA)
def test_lying_lengths_are_refused(content, message):
    with pytest.raises(ProtocolError, match=message) as caught:
        decode_request(*content)
    assert caught.value.status == 400


def test_a_bad_response_is_the_servers_fault():
    with pytest.raises(ProtocolError, match=r"the server's response cannot be read: .* not valid JSON") as caught:
        decode_response(b"<html>")
    assert caught.value.status == 502


def test_too_much_json_is_refused_unread():
    with pytest.raises(ProtocolError, match="at most") as caught:
        decode_request(b"[" * (LARGEST_JSON_BYTES + 1))
    assert caught.value.status == 413


def damaged(body, generator):
    """Change, cut, or double a few bytes."""
    content = bytearray(body)
    for _ in range(generator.integers(1, 4)):
        place = int(generator.integers(0, len(content) + 1))
        kind = generator.integers(0, 4)
        if kind == 0:
            content[place : place + 1] = generator.bytes(1)
        elif kind == 1:
            del content[place : place + int(generator.integers(1, 9))]
        elif kind == 2:
            content[place:place] = content[place : place + int(generator.integers(1, 20))]
        else:
            content[place : place + 1] = generator.choice(
                [b"{", b"[", b'"', b"-", b"9" * 19, b"null", b"true", b"1e308", b"\\u0000", b","]
            )
    return bytes(content)


def test_damaged_messages_are_read_or_refused_and_nothing_else():
    generator = np.random.default_rng(5)
    datatypes = list(NUMPY_TYPES)
    refusals = []
    total = scaled(2000, 40_000)
    for number in range(total):
        sent = {}
        for index in range(generator.integers(1, 4)):
            datatype = datatypes[generator.integers(len(datatypes))]
            sent[f"t{index}"] = array_of(datatype, SHAPES[generator.integers(len(SHAPES))])
        body, length = joined(encode_request(sent, outputs=["y"] if number % 2 else None))
        if number % 3 == 0:
            length = str(max(0, int(length or 0) + int(generator.integers(-3, 4))))
        try:
            request = decode_request(damaged(body, generator), length)
        except ProtocolError as error:
            refusals.append(error)
        else:
            for array in request.inputs.values():
                array.copy()
    assert len(refusals) > total / 2
    assert all(400 <= error.status < 500 and len(str(error)) < 700 for error in refusals)
