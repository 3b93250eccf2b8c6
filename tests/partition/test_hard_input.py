"""What nobody gives on purpose: damaged arrays, numbers without end, outputs of types that NumPy does not have."""

import io
import json
import struct
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from partition import InputError, load_plan, partition
from partition.arguments import dims, visits
from partition.runtime.files import check_writable, read_inputs, write_outputs
from tests.models import model, node, value
from tests.partition.conftest import entries


def archive(content, compression=zipfile.ZIP_STORED):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as file:
        file.writestr("x.npy", content)
    return made.getvalue()


def array_file(header):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }"


@pytest.mark.parametrize(
    "header", ["{'descr': (", "'''", "  {\n 'a'\n:1}\n  b", HEADER % "10**5", HEADER % ("9" * 26), HEADER % 10**15]
)
def test_damaged_headers(header, tmp_path):
    (tmp_path / "x.npz").write_bytes(archive(array_file(header)))
    with pytest.raises(InputError, match=r"^input file '.*x\.npz' is [^\n]*; write it[^\n]*$"):
        read_inputs(tmp_path / "x.npz")


@pytest.mark.parametrize("module", ["lzma", "bz2", "zlib"])
def test_damaged_compression(module, tmp_path):
    pytest.importorskip(module)
    kind = {"lzma": zipfile.ZIP_LZMA, "bz2": zipfile.ZIP_BZIP2, "zlib": zipfile.ZIP_DEFLATED}[module]
    good = archive(array_file(HEADER % 4), kind)
    refused = 0
    for place in range(36, len(good) - 70):
        damaged = bytearray(good)
        damaged[place] ^= 0xFF
        (tmp_path / "x.npz").write_bytes(damaged)
        try:
            read_inputs(tmp_path / "x.npz")
        except InputError:
            refused += 1
    assert refused > 20


def test_numbers_without_end():
    for text in ("1" * 5000, "x" * 5000):
        for read in (lambda text: visits(text), lambda text: dims([f"n={text}"])):
            with pytest.raises(InputError, match="legal are whole numbers of up to 18 digits") as caught:
                read(text)
            assert len(str(caught.value)) < 120
    assert visits("9" * 18) == 10**18 - 1
    assert dims(["n=12"]) == {"n": 12}


def test_an_output_that_numpy_has_no_type_for(command, tmp_path):
    nodes = [node("Cast", "x", "b", to=TensorProto.BFLOAT16), node("Identity", "b", "y")]
    source = model(nodes, {"x": (1, 4)}, [value("y", [1, 4], TensorProto.BFLOAT16)])
    onnx.save(source, tmp_path / "m.onnx")
    partition(tmp_path / "m.onnx", "wifi").save(tmp_path / "out")
    done = command("run", "out", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["outputs"] == [{"name": "y", "dtype": "bfloat16", "shape": [1, 4]}]
    assert "bfloat16" in command("run", "out").out
    done = command("run", "out", "--output", "y.npz")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "cannot hold output 'y': NumPy has no type bfloat16; leave out --output" in done.err
    plan = load_plan(tmp_path / "out")
    with pytest.raises(InputError, match="NumPy has no type bfloat16"):
        check_writable(tmp_path / "y.npz", {one.name: one.dtype for one in plan.model.outputs})
    with plan.session(threads=1) as session, pytest.raises(InputError, match="NumPy has no type bfloat16"):
        write_outputs(tmp_path / "y.npz", session.run({"x": np.ones((1, 4), np.float32)}))
    assert entries(tmp_path) == ["m.onnx", "out"]
