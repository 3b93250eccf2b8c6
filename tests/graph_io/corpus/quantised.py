"""Quantised versions, made by the runtime's own tool: QDQ after calibration, and dynamic."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from tests.graph_io.corpus.case import Case
from tests.graph_io.corpus.sequences import encoder, encoder_feeds
from tests.graph_io.corpus.vision import OTHERS, PLANNED, image_feeds, squeeze_excite, u_net


def quantised(build, feeds, sizes):
    """Calibrate on a few random inputs, and put QuantizeLinear and DequantizeLinear around every operator."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.drawn = iter([feeds(sizes, np.random.default_rng(seed)) for seed in range(4)])

        def get_next(self):
            return next(self.drawn, None)

    with tempfile.TemporaryDirectory() as folder:
        whole, target = Path(folder) / "whole.onnx", Path(folder) / "quantised.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(build()), whole)
        quantize_static(
            whole,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(target)


@cache
def squeeze_excite_qdq():
    return quantised(squeeze_excite, image_feeds, PLANNED)


@cache
def u_net_qdq():
    return quantised(u_net, image_feeds, PLANNED)


@cache
def encoder_dynamic():
    """Round the activations of each product by their own range, found at run time."""
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        whole, target = Path(folder) / "whole.onnx", Path(folder) / "quantised.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(encoder()), whole)
        quantize_dynamic(whole, target)
        return onnx.load(target)


_TEXTS = [{"batch": 1, "seq": 1}, {"batch": 3, "seq": 11}, {"batch": 2, "seq": 5}]
QUANTISED = [
    Case("squeeze_excite_qdq", squeeze_excite_qdq, image_feeds, PLANNED, OTHERS),
    Case("u_net_qdq", u_net_qdq, image_feeds, PLANNED, OTHERS),
    Case("encoder_dynamic", encoder_dynamic, encoder_feeds, {"batch": 2, "seq": 8}, _TEXTS),
]
