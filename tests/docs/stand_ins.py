"""The files that examples name: small models that really run, and what was really made from them, under these names.

Nobody has ResNet-50 beside a clone. A file called resnet50.onnx here is a small residual network with that network's
input and its first pooling; model.onnx is a network with a narrow place, so that a cut in its middle pays. Timings are
written with the times of a datasheet instead of measured ones, where an example only reads them.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from partition import load_graph, load_machine
from partition.latency.annotate import annotate
from partition.latency.timings import LayerTiming, MeasuredModel, MeasuredRuntime, Timings, WholeModelTiming
from tests.docs.blocks import blocks_of, path_of
from tests.models import model, node, transformer_block
from tests.partition.routing.length_files import lengths_for, lstm_net


class _Layers:
    """Convolutions with seeded He-scaled weights, one behind the other."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.weights: dict[str, np.ndarray] = {}
        self.nodes: list[onnx.NodeProto] = []

    def add(self, op_type: str, inputs: str, output: str, **attributes: object) -> str:
        self.nodes.append(node(op_type, inputs, output, f"{output}_node", **attributes))
        return output

    def weight(self, name: str, *shape: int) -> str:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        self.weights[name] = (self.generator.standard_normal(shape) * scale).astype(np.float32)
        return name

    def conv(self, source: str, name: str, channels: tuple[int, int], kernel: int, stride: int = 1) -> str:
        """Add a convolution and its activation; the result has the given name."""
        weight = self.weight(f"{name}_w", channels[1], channels[0], kernel, kernel)
        pads = [(kernel - stride + 1) // 2 if stride > 1 else kernel // 2] * 4
        self.add(
            "Conv", f"{source} {weight}", f"{name}_sum", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads
        )
        return self.add("Relu", f"{name}_sum", name)

    def classify(self, source: str, channels: int, output: str, classes: int = 10) -> None:
        self.weight("fc_w", classes, channels)
        self.add("GlobalAveragePool", source, "pooled")
        self.add("Flatten", "pooled", "flat")
        self.add("Gemm", "flat fc_w", "logits", transB=1)
        self.add("Softmax", "logits", output)


def small_net() -> onnx.ModelProto:
    """Build model.onnx: an image of 64 x 64, a narrow place (`narrow`), 1.4 GFLOP behind it, ten scores."""
    layers = _Layers(0)
    x = layers.conv("image", "narrow", (3, 4), 4, 4)
    for number, channels in enumerate([(4, 320), (320, 320), (320, 320), (320, 320)], start=1):
        x = layers.conv(x, f"wide{number}", channels, 3)
    layers.classify(x, 320, "scores")
    return model(layers.nodes, {"image": (1, 3, 64, 64)}, ["scores"], layers.weights, name="model")


def residual_net() -> onnx.ModelProto:
    """Build resnet50.onnx: ResNet-50's input and stem, up to `pool1`, then one wide residual block, ten classes."""
    layers = _Layers(1)
    stem = layers.conv("data", "conv1", (3, 64), 7, 2)
    layers.add("MaxPool", stem, "pool1", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    wide = layers.conv("pool1", "wide1", (64, 320), 3, 2)
    deep = wide
    for number in (2, 3, 4):
        deep = layers.conv(deep, f"wide{number}", (320, 320), 3)
    layers.add("Add", f"{wide} {deep}", "joined")
    layers.classify("joined", 320, "prob")
    return model(layers.nodes, {"data": (1, 3, 224, 224)}, ["prob"], layers.weights, name="resnet50")


def branching_net() -> onnx.ModelProto:
    """Build branches.onnx: an exit behind a narrow place, and one behind the wide layers after it."""
    layers = _Layers(4)
    x = layers.conv("image", "narrow", (3, 4), 4, 4)
    layers.weight("early_w", 10, 4)
    layers.add("GlobalAveragePool", x, "early_pooled")
    layers.add("Flatten", "early_pooled", "early_flat")
    layers.add("Gemm", "early_flat early_w", "early", transB=1)
    for number, channels in enumerate([(4, 320), (320, 320), (320, 320), (320, 320)], start=1):
        x = layers.conv(x, f"wide{number}", channels, 3)
    layers.weight("late_w", 10, 320)
    layers.add("GlobalAveragePool", x, "late_pooled")
    layers.add("Flatten", "late_pooled", "late_flat")
    layers.add("Gemm", "late_flat late_w", "late", transB=1)
    return model(layers.nodes, {"image": (1, 3, 64, 64)}, ["early", "late"], layers.weights, name="branches")


def timings(path: Path, *, machine: str) -> Timings:
    """Write down what a datasheet machine would take for a model, as if it had been measured there."""
    graph = load_graph(path)
    annotate(graph, {"here": machine})
    layers = tuple(
        LayerTiming(layer, data["layer"].nodes, data["latency_s"]["here"], 0.0)
        for layer, data in graph.nodes(data=True)
    )
    whole_s = sum(layer.latency_s for layer in layers)
    about = graph.graph
    return Timings(
        name=f"stand-in for {machine}",
        model=MeasuredModel(about["name"], about["structure_sha256"], about["granularity"], about["input_shapes"]),
        hardware={},
        runtime=MeasuredRuntime("onnxruntime", "1.0", "CPUExecutionProvider", 1, "all"),
        date="2026-01-31T12:00:00+00:00",
        whole_model=WholeModelTiming(whole_s, whole_s / 50, 20, whole_s),
        layers=layers,
    )


def _data(folder: Path) -> None:
    folder.mkdir()
    generator = np.random.default_rng(2)
    for name in ("first", "second"):
        np.savez(folder / f"{name}.npz", image=generator.random((1, 3, 64, 64), dtype=np.float32))


def _labelled(folder: Path) -> None:
    """Write images for branches.onnx: its first exit is right of the brighter half, its last one of the others."""
    folder.mkdir()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_serialised(branching_net), options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(5).random((16, 3, 64, 64), dtype=np.float32)
    images *= np.linspace(0.2, 3, 16, dtype=np.float32)[:, None, None, None]
    answers = [session.run(["late", "early"], {"image": image[None]}) for image in images]
    labels = [int(both[number // 8].argmax()) for number, both in enumerate(answers)]
    np.savez(folder / "images.npz", image=images, label=np.array(labels))


def _lengths(machine_s: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        # The model with the open length is the same file that the page loads.
        proto = lstm_net()
        found = lengths_for(proto, path.name.partition(".")[0], most=512, per_layer_s=(machine_s, machine_s, 0.0))
        found.save(path)

    return write


def _workload(path: Path) -> None:
    nodes = [
        {
            "id": number,
            "cpuLatency": 10.0,
            "fpgaLatency": 1.0 + number % 3,
            "supportedOnFpga": True,
            "size": 1.0,
            "isBackwardNode": False,
        }
        for number in range(9)
    ]
    edges = [{"sourceId": number, "destId": number + 1, "cost": 0.25} for number in range(8)]
    content = {"maxFPGAs": 3, "maxCPUs": 1, "maxSizePerFPGA": 100.0, "nodes": nodes, "edges": edges}
    path.write_text(json.dumps(content), encoding="utf-8")


def _folder_of_models(folder: Path) -> None:
    folder.mkdir()
    for name in ("model.onnx", "resnet50.onnx"):
        WRITERS[name](folder / name)


def _network(path: Path) -> None:
    """Write the network that docs/routing.md shows, and the lengths files that it names."""
    page = path_of("docs/routing.md")
    shown = next(block for block in blocks_of("", page.read_text(encoding="utf-8")) if block.kind == "json")
    path.write_text(shown.text, encoding="utf-8")
    for machine in json.loads(shown.text)["machines"]:
        if not (path.parent / machine["lengths"]).exists():
            WRITERS[machine["lengths"]](path.parent / machine["lengths"])


def _inputs(path: Path) -> None:
    np.savez(path, image=np.random.default_rng(3).random((1, 3, 64, 64), dtype=np.float32))


def _text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content, encoding="utf-8") and None


def _machine(name: str) -> Callable[[Path], None]:
    return lambda path: load_machine(name).save(path)


@cache
def _serialised(build: Callable[[], onnx.ModelProto]) -> bytes:
    return build().SerializeToString()


def _model(build: Callable[[], onnx.ModelProto]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(_serialised(build)) and None


WRITERS: dict[str, Callable[[Path], None]] = {
    "model.onnx": _model(small_net),
    "resnet50.onnx": _model(residual_net),
    "cove.onnx": _model(lstm_net),
    "sequence.onnx": _model(lambda: transformer_block(sequence="seq", width=16, heads=2, blocks=1)),
    "branches.onnx": _model(branching_net),
    "data": _data,
    "labelled": _labelled,
    "x.npz": _inputs,
    "network.json": _network,
    "pi4.json": _machine("raspberry-pi-4"),
    "xeon.json": _machine("xeon-server"),
    "zoo": _folder_of_models,
    "workload.json": _workload,
    "walk.csv": _text("0 8\n5 2\n"),
    "walk-down.csv": _text("0 20\n5 10\n"),
    "train.up": _text("\n".join(str(4 * number) for number in range(1, 500))),
    "train.down": _text("\n".join(str(number) for number in range(1, 2000))),
    "pi.lengths.json": _lengths(4e-4),
    "phone.lengths.json": _lengths(4e-4),
    "xeon.lengths.json": _lengths(1e-5),
    "cloud.lengths.json": _lengths(1e-5),
}
"""By the name that an example gives it: what writes the file or folder."""
