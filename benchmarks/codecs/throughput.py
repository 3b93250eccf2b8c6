"""Codecs against a copy of memory, and zstd on top, on activations behind a ReLU and of attention."""

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.codecs.setting import on_one_core
from benchmarks.result import Bar
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS
from benchmarks.zoo.files import network_file, network_inputs
from graph_io import load_graph, split
from graph_io.codec_nodes import Crossing, codec_models
from graph_io.codecs import CODECS, coded_tensors
from partition.runtime.parts import open_part, session_options

SOURCES = {"relu": "resnet18", "attention": "encoder-small"}
OPERATORS = {"relu": "Relu", "attention": "Softmax"}
LEVELS, QUICK_LEVELS = (1, 3, 6, 9), (1,)
LEAST_RATIO = 3.5
Array = NDArray[Any]


def measure(settings: Settings) -> Section:
    """Time all codecs and levels on both kinds of activations."""
    rows: list[dict[str, Any]] = []
    with on_one_core():
        for kind, name in SOURCES.items():
            rows += _of_tensor(kind, _activation(kind, name, settings), settings)
    bars = [
        Bar(f"throughput: {row['codec']} bytes, {row['tensor']}", row["ratio"], LEAST_RATIO, "higher")
        for row in rows
        if row["kind"] == "codec" and row["codec"] in ("int8", "uint8")
    ]
    lines = [
        [
            f"{row['tensor']}, {row['codec']}",
            f"{row['ratio']:.2f}",
            f"{row['encode_mb_per_s']:.0f}",
            f"{row['decode_mb_per_s']:.0f}",
            f"{row['of_memcpy']:.1%}",
        ]
        for row in rows
    ]
    headings = ("activations, codec", "fewer bytes", "encode MB/s", "decode MB/s", "both, of memcpy")
    notes = ["MB of float32 per second, one thread; zstd rows time Python's zstandard alone, on what would be sent"]
    if find_spec("zstandard") is None:
        notes.append("zstd was left out: zstandard is not installed (extra bench)")
    return Section(
        tuple(bars), tuple(rows), (table("Encoding and decoding real activations", headings, lines),), tuple(notes)
    )


def _activation(kind: str, name: str, settings: Settings) -> Array:
    """Return the largest tensor that a layer with a ReLU, or with the softmax of attention, puts out."""
    with network_file(name, settings.cache) as path:
        graph = load_graph(path, dims=NETWORKS[name].dims)
        inputs = network_inputs(name, graph)
        tensors = graph.graph["tensors"]
        operator = OPERATORS[kind]
        found = [
            name
            for name, one in tensors.items()
            if one.producer is not None and operator in graph.nodes[one.producer]["layer"].op_types
        ]
        chosen = max(found, key=lambda one: tensors[one].size_bytes)
        producer = tensors[chosen].producer
        import networkx as nx

        before = nx.ancestors(graph, producer) | {producer}
        layers = [[layer for layer in graph if (layer in before) is wanted] for wanted in (True, False)]
        head = split(graph, layers)[0]
        session = open_part(head.embedded().SerializeToString(), name, session_options(threads=1))
        (value,) = session.run([chosen], {one: inputs[one] for one in head.inputs})
    return np.ascontiguousarray(value)


def _of_tensor(kind: str, value: Array, settings: Settings) -> list[dict[str, Any]]:
    repetitions = settings.repetitions or (10 if settings.quick else 50)
    megabytes = value.nbytes / 1e6
    target = np.empty_like(value)
    copy_s = _median_s(lambda: np.copyto(target, value), repetitions)
    title = f"{kind} {'x'.join(map(str, value.shape))}, {float(np.mean(value == 0)):.0%} zeros"

    def row(what: str, codec: str, ratio: float, encode_s: float, decode_s: float) -> dict[str, Any]:
        return {
            "kind": what,
            "tensor": title,
            "codec": codec,
            "ratio": ratio,
            "encode_mb_per_s": megabytes / encode_s,
            "decode_mb_per_s": megabytes / decode_s,
            "of_memcpy": copy_s / (encode_s + decode_s),
            "megabytes": megabytes,
        }

    rows = [row("copy", "memcpy", 1.0, copy_s, copy_s)]
    coded = {"none": (value.tobytes(), value.nbytes)}
    for codec in CODECS:
        crossing = Crossing("t", "float32", value.shape)
        encoder, decoder = (
            open_part(content, codec, session_options(threads=1)) for content in codec_models(crossing, codec, 17)
        )
        names = [one.name for one in encoder.get_outputs()]
        sent = dict(zip(names, encoder.run(names, {"t": value}), strict=True))
        size = sum(one.size_bytes for one in coded_tensors("t", value.shape, codec))
        encode_s = _median_s(lambda: encoder.run(names, {"t": value}), repetitions)  # noqa: B023
        decode_s = _median_s(lambda: decoder.run(None, sent), repetitions)  # noqa: B023
        rows.append(row("codec", codec, value.nbytes / size, encode_s, decode_s))
        coded[codec] = (b"".join(one.tobytes() for one in sent.values()), size)
    if find_spec("zstandard") is not None:
        rows += _zstd(coded, value.nbytes, row, settings)
    return rows


def _zstd(
    coded: dict[str, tuple[bytes, int]], raw: int, row: Callable[..., dict[str, Any]], settings: Settings
) -> list[dict[str, Any]]:
    import zstandard

    rows = []
    for codec in ("none", "uint8", "uint4"):
        content, _ = coded[codec]
        for level in QUICK_LEVELS if settings.quick else LEVELS:
            packer, unpacker = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
            packed = packer.compress(content)
            pack_s = _median_s(lambda: packer.compress(content), 5)  # noqa: B023
            unpack_s = _median_s(lambda: unpacker.decompress(packed), 5)  # noqa: B023
            rows.append(row("zstd", f"{codec} + zstd {level}", raw / len(packed), pack_s, unpack_s))
    return rows


def _median_s(work: Callable[[], object], repetitions: int) -> float:
    taken = []
    for number in range(repetitions + 2):
        begun_s = time.perf_counter()
        work()
        if number > 1:
            taken.append(time.perf_counter() - begun_s)
    return statistics.median(taken)
