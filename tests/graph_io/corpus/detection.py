"""The tail of a detector: boxes and scores from features, then non-maximum suppression image by image in a Loop."""

import numpy as np
from onnx import TensorProto, helper

from tests.graph_io.corpus.case import Case, Network
from tests.graph_io.corpus.vision import OTHERS, PLANNED, convolve, image_feeds
from tests.models import node, value

CLASSES = 3


def suppress_each_image(net, boxes, scores):
    """Suppress in one image after the other; the carried list of what is kept grows by an unknown number."""
    net.weights |= {
        "at_most": np.array([4]),
        "overlap": np.float32([0.5]),
        "least": np.float32([0.3]),
        "first": np.array([0]),
        "past_batch": np.array([1]),
        "all": np.array([1_000]),
        "last_axis": np.array([1]),
    }
    body = helper.make_graph(
        [
            node("Unsqueeze", "number first", "numbers"),
            node("Gather", f"{boxes} numbers", "own_boxes"),
            node("Gather", f"{scores} numbers", "own_scores"),
            node("NonMaxSuppression", "own_boxes own_scores at_most overlap least", "kept"),
            node("Slice", "kept past_batch all last_axis", "class_and_box"),
            node("Shape", "class_and_box", "rows_and_two"),
            node("Slice", "rows_and_two first past_batch", "rows"),
            node("Concat", "rows past_batch", "column", axis=0),
            node("Expand", "numbers column", "image"),
            node("Concat", "image class_and_box", "found", axis=1),
            node("Concat", "list found", "longer", axis=0),
            node("Identity", "go", "go_on"),
        ],
        "each_image",
        [
            value("number", [], TensorProto.INT64),
            value("go", [], TensorProto.BOOL),
            value("list", [None, 3], TensorProto.INT64),
        ],
        [value("go_on", [], TensorProto.BOOL), value("longer", [None, 3], TensorProto.INT64)],
    )
    images = net.scalar(net.dimension(boxes, 0))
    empty = net.constant(np.zeros((0, 3), np.int64))
    return net.add("Loop", images, "_", empty, name="selected", body=body)


def detector():
    net = Network(6)
    features = net.add("Relu", convolve(net, "x", 3, 8, strides=[2, 2]), name="features")
    offsets = net.add("Sigmoid", convolve(net, features, 8, 4, size=1), name="offsets")
    flat = net.constant(np.array([0, 4, -1]))
    quarters = net.add("Transpose", net.add("Reshape", offsets, flat), perm=[0, 2, 1])
    corner = net.add("Slice", quarters, *(net.constant(np.array([end])) for end in (0, 2, 2)))
    extent = net.add("Slice", quarters, *(net.constant(np.array([end])) for end in (2, 4, 2)))
    net.add("Concat", corner, net.add("Add", corner, extent), name="boxes", axis=2)
    logits = convolve(net, features, 8, CLASSES, size=1)
    net.add("Sigmoid", net.add("Reshape", logits, net.constant(np.array([0, CLASSES, -1]))), name="scores")
    suppress_each_image(net, "boxes", "scores")
    image_and_box = net.add("Gather", "selected", net.constant(np.array([0, 2])), axis=1)
    net.add("GatherND", "boxes", image_and_box, name="selected_boxes")
    net.add("GatherND", "scores", "selected", name="selected_scores")
    outputs = [
        value("selected", [None, 3], TensorProto.INT64),
        value("selected_boxes", [None, 4]),
        value("selected_scores", [None]),
    ]
    return net.model([value("x", ["batch", 3, "height", "width"])], outputs, name="detector")


DETECTION = [Case("detector", detector, image_feeds, PLANNED, OTHERS)]
