"""Which models the workers of a batch begin with."""

import io
import os
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from partition.batch import BatchModel
from partition.batch.order import MOST_FIELDS, count_nodes, longest_first


def chain(n_nodes: int, *, weight: int = 1) -> onnx.ModelProto:
    nodes = [helper.make_node("Mul", [f"x{at}", "w"], [f"x{at + 1}"]) for at in range(n_nodes)]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [weight])],
        [helper.make_tensor_value_info(f"x{n_nodes}", TensorProto.FLOAT, [weight])],
        [helper.make_tensor("w", TensorProto.FLOAT, [weight], b"\0" * 4 * weight, raw=True)],
    )
    return helper.make_model(graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)])


def counted(content: bytes) -> int:
    return count_nodes(io.BytesIO(content), len(content))


@pytest.mark.parametrize("n_nodes", [1, 2, 300])
def test_the_nodes_of_a_file_are_counted(n_nodes: int) -> None:
    assert counted(chain(n_nodes, weight=1000).SerializeToString()) == n_nodes


def test_what_is_no_model_has_no_nodes_and_ends() -> None:
    whole = chain(20).SerializeToString()
    assert counted(b"") == 0
    assert counted(b"\xff" * 100) == 0
    assert counted(b"not a model") == 0
    assert all(0 <= counted(whole[:length]) <= 20 for length in range(len(whole)))


def test_long_work_comes_first_and_what_cannot_be_looked_at_last(tmp_path: Path) -> None:
    files = {"small": chain(2), "deep": chain(500), "wide": chain(2, weight=10_000_000)}
    for name, model in files.items():
        onnx.save(model, tmp_path / f"{name}.onnx")
    models = [
        BatchModel(tmp_path / "missing.onnx", {}, "missing"),
        BatchModel(files["deep"], {}, "memory"),
        *(BatchModel(tmp_path / f"{name}.onnx", {}, name) for name in files),
    ]

    many = [models[at].name for at in longest_first(models, 10_000)]
    one = [models[at].name for at in longest_first(models, 1)]

    assert many == ["deep", "wide", "small", "missing", "memory"]
    assert one == ["wide", "deep", "small", "missing", "memory"]


def test_a_file_of_many_fields_is_not_read_to_its_end() -> None:
    file = io.BytesIO(b"\x0a\x00" * (MOST_FIELDS + 1000))
    assert count_nodes(file, len(file.getbuffer())) == 0
    assert file.tell() < 2 * MOST_FIELDS + 100


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    onnx.save(chain(2), tmp_path / "small.onnx")
    models = [BatchModel(tmp_path / f"{name}.onnx", {}, name) for name in ("pipe", "small")]
    assert longest_first(models, 1) == [1, 0]
