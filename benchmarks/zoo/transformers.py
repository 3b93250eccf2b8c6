"""Transformers in primitive operators, as exporters write them, so that the runtime's fusions have their work to do."""

import math
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published

_BERT_WORDS, _BERT_POSITIONS, _BERT_WIDTH, _BERT_HEADS, _BERT_LAYERS = 30_522, 512, 768, 12, 12
_VIT_WIDTH, _VIT_HEADS, _VIT_LAYERS, _VIT_TOKENS, _CLASSES = 768, 12, 12, 197, 1000
_GPT2_WIDTH, _GPT2_HEADS = 768, 12
_SMALL_WIDTH, _SMALL_HEADS, _SMALL_LAYERS = 256, 4, 4

Layer = Callable[[Builder, str], str]


def bert_base() -> onnx.ModelProto:
    """Build BERT-base, uncased, with its pooler; layer normalisation and Gelu in single steps."""
    b = Builder("bert-base")
    tokens = b.input("input_ids", (1, "seq"), TensorProto.INT64)
    mask = b.input("attention_mask", (1, "seq"), TensorProto.INT64)
    types = b.input("token_type_ids", (1, "seq"), TensorProto.INT64)
    x = b.node("Add", _table(b, tokens, _BERT_WORDS), _table(b, types, 2))
    numbers = b.constant(np.arange(_BERT_POSITIONS, dtype=np.int64)[None])
    length = b.node("Gather", b.node("Shape", tokens), b.constant(np.array(1, np.int64)), axis=0)
    end = b.node("Unsqueeze", length, b.axes(0))
    positions = b.node("Slice", numbers, b.axes(0), end, b.axes(1), b.axes(1))
    x = _stepwise_norm(b, b.node("Add", x, _table(b, positions, _BERT_POSITIONS)), _BERT_WIDTH)
    # Masked words get a large negative number added to their scores.
    kept = b.node("Cast", b.node("Unsqueeze", mask, b.axes(1, 2)), to=TensorProto.FLOAT)
    penalty = b.node("Mul", b.node("Sub", b.scalar(1), kept), b.scalar(-10_000))
    for _ in range(_BERT_LAYERS):
        y = _separate_attention(b, x, penalty)
        x = _stepwise_norm(b, b.node("Add", y, x), _BERT_WIDTH)
        y = _feed_forward(b, x, _BERT_WIDTH, activation=_gelu)
        x = _stepwise_norm(b, b.node("Add", y, x), _BERT_WIDTH)
    first = b.node("Gather", x, b.constant(np.array(0, np.int64)), axis=1)
    pooled = b.node("Tanh", b.dense(first, _BERT_WIDTH, _BERT_WIDTH, gain=1.0))
    return b.model({x: (1, "seq", _BERT_WIDTH), pooled: (1, _BERT_WIDTH)})


def vit_b_16() -> onnx.ModelProto:
    """Build ViT-B/16 for images of 224 x 224 pixels: normalisation before each half of a block."""
    b = Builder("vit-b-16")
    x = b.conv(b.input("image", (1, 3, 224, 224)), _VIT_WIDTH, 16, stride=16, pad=0, gain=1.0)
    x = b.node("Transpose", b.reshape(x, 1, _VIT_WIDTH, -1), perm=[0, 2, 1])
    x = b.node("Concat", b.weight(1, 1, _VIT_WIDTH, fan_in=1, gain=1.0), x, axis=1)
    x = b.node("Add", x, b.weight(1, _VIT_TOKENS, _VIT_WIDTH, fan_in=1, gain=0.1))
    for _ in range(_VIT_LAYERS):
        y = _stacked_attention(b, _layer_norm(b, x, _VIT_WIDTH), _VIT_WIDTH, _VIT_HEADS)
        x = b.node("Add", x, y)
        y = _feed_forward(b, _layer_norm(b, x, _VIT_WIDTH), _VIT_WIDTH, activation=_gelu)
        x = b.node("Add", x, y)
    x = b.node("Gather", _layer_norm(b, x, _VIT_WIDTH), b.constant(np.array(0, np.int64)), axis=1)
    return b.model({b.dense(x, _VIT_WIDTH, _CLASSES, gain=1.0): (1, _CLASSES)})


def gpt2_block() -> onnx.ModelProto:
    """Build one block of GPT-2 small: causal attention, Gelu by its hyperbolic tangent."""
    b = Builder("gpt2-block")
    x = b.input("hidden", (1, "seq", _GPT2_WIDTH))
    y = _layer_norm(b, x, _GPT2_WIDTH)
    y = b.node("Split", b.linear(y, _GPT2_WIDTH, 3 * _GPT2_WIDTH), b.axes(*[_GPT2_WIDTH] * 3), outputs=3, axis=2)
    query, key, value = (
        _heads(b, part, _GPT2_WIDTH, _GPT2_HEADS, transposed=number == 1)
        for number, part in enumerate((y, f"{y}.1", f"{y}.2"))
    )
    scores = _scores(b, query, key, _GPT2_WIDTH // _GPT2_HEADS)
    square = b.node("Slice", b.node("Shape", scores), b.axes(2), b.axes(4))
    past = b.node("Trilu", b.node("ConstantOfShape", square, value=_one()), upper=0)
    scores = b.node("Where", b.node("Cast", past, to=TensorProto.BOOL), scores, b.scalar(-1e9))
    x = b.node("Add", _weighed(b, scores, value, _GPT2_WIDTH), x)
    y = _feed_forward(b, _layer_norm(b, x, _GPT2_WIDTH), _GPT2_WIDTH, activation=_gelu_by_tanh)
    return b.model({b.node("Add", x, y): (1, "seq", _GPT2_WIDTH)})


def small_encoder() -> onnx.ModelProto:
    """Build a small encoder: four layers of 256, normalisation after each half, rectifiers."""
    b = Builder("encoder-small")
    x = b.input("embedded", (1, "seq", _SMALL_WIDTH))
    for _ in range(_SMALL_LAYERS):
        y = _stacked_attention(b, x, _SMALL_WIDTH, _SMALL_HEADS)
        x = _layer_norm(b, b.node("Add", x, y), _SMALL_WIDTH)
        y = _feed_forward(b, x, _SMALL_WIDTH, activation=lambda b, x: b.relu(x))
        x = _layer_norm(b, b.node("Add", x, y), _SMALL_WIDTH)
    return b.model({x: (1, "seq", _SMALL_WIDTH)})


def _table(b: Builder, rows: str, size: int) -> str:
    return b.node("Gather", b.weight(size, _BERT_WIDTH, fan_in=1, gain=1.0), rows, axis=0)


def _one() -> onnx.TensorProto:
    return onnx.helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])


def _scale_and_shift(b: Builder, size: int) -> tuple[str, str]:
    return b.constant(np.ones(size, np.float32)), b.bias(size)


def _layer_norm(b: Builder, x: str, size: int) -> str:
    return b.node("LayerNormalization", x, *_scale_and_shift(b, size), axis=-1, epsilon=1e-6)


def _stepwise_norm(b: Builder, x: str, size: int) -> str:
    """Add a layer normalisation the way it was exported before opset 17."""
    centred = b.node("Sub", x, b.node("ReduceMean", x, axes=[-1]))
    variance = b.node("ReduceMean", b.node("Pow", centred, b.scalar(2)), axes=[-1])
    y = b.node("Div", centred, b.node("Sqrt", b.node("Add", variance, b.scalar(1e-12))))
    scale, shift = _scale_and_shift(b, size)
    return b.node("Add", b.node("Mul", y, scale), shift)


def _gelu(b: Builder, x: str) -> str:
    y = b.node("Add", b.node("Erf", b.node("Div", x, b.scalar(math.sqrt(2)))), b.scalar(1))
    return b.node("Mul", b.node("Mul", x, y), b.scalar(0.5))


def _gelu_by_tanh(b: Builder, x: str) -> str:
    cubic = b.node("Mul", b.node("Pow", x, b.scalar(3)), b.scalar(0.044715))
    y = b.node("Tanh", b.node("Mul", b.node("Add", x, cubic), b.scalar(math.sqrt(2 / math.pi))))
    return b.node("Mul", b.node("Mul", x, b.scalar(0.5)), b.node("Add", y, b.scalar(1)))


def _feed_forward(b: Builder, x: str, width: int, *, activation: Layer) -> str:
    return b.linear(activation(b, b.linear(x, width, 4 * width)), 4 * width, width)


def _heads(b: Builder, x: str, width: int, heads: int, *, transposed: bool = False) -> str:
    """Turn 1 x seq x width into 1 x heads x seq x size, or with the last two axes changed over."""
    return b.node(
        "Transpose", b.reshape(x, 0, 0, heads, width // heads), perm=[0, 2, 3, 1] if transposed else [0, 2, 1, 3]
    )


def _scores(b: Builder, query: str, key: str, size: int) -> str:
    return b.node("Div", b.node("MatMul", query, key), b.scalar(math.sqrt(size)))


def _weighed(b: Builder, scores: str, value: str, width: int) -> str:
    """Add what follows the scores: their softmax, the weighed values, the projection."""
    y = b.node("MatMul", b.node("Softmax", scores, axis=-1), value)
    return b.linear(b.reshape(b.node("Transpose", y, perm=[0, 2, 1, 3]), 0, 0, width), width, width)


def _separate_attention(b: Builder, x: str, penalty: str) -> str:
    """Add BERT's attention: a projection each for queries, keys and values."""
    query, key, value = (
        _heads(b, b.linear(x, _BERT_WIDTH, _BERT_WIDTH), _BERT_WIDTH, _BERT_HEADS, transposed=number == 1)
        for number in range(3)
    )
    scores = b.node("Add", _scores(b, query, key, _BERT_WIDTH // _BERT_HEADS), penalty)
    return _weighed(b, scores, value, _BERT_WIDTH)


def _stacked_attention(b: Builder, x: str, width: int, heads: int) -> str:
    """Add attention with one projection for queries, keys and values, taken apart after it."""
    stacked = b.reshape(b.linear(x, width, 3 * width), 0, 0, 3, heads, width // heads)
    stacked = b.node("Transpose", stacked, perm=[2, 0, 3, 1, 4])
    query, key, value = (b.node("Gather", stacked, b.constant(np.array(part, np.int64)), axis=0) for part in range(3))
    key = b.node("Transpose", key, perm=[0, 1, 3, 2])
    return _weighed(b, _scores(b, query, key, width // heads), value, width)


NETWORKS: tuple[Network, ...] = (
    Network(
        name="bert-base",
        family="bert",
        build=bert_base,
        source="Devlin et al., NAACL 2019: BERT-base, uncased, with the pooler and without a task's head",
        published=Published(110e6, None, "Devlin et al., NAACL 2019"),
        dims={"seq": 128},
        ones=("attention_mask",),
    ),
    Network(
        name="vit-b-16",
        family="vit",
        build=vit_b_16,
        source="Dosovitskiy et al., ICLR 2021, as torchvision and timm have it",
        published=Published(86_567_656, 17.56e9, "torchvision, vit_b_16, IMAGENET1K_V1"),
    ),
    Network(
        name="gpt2-block",
        family="gpt2",
        build=gpt2_block,
        source="Radford et al., 2019: one of the 12 blocks of GPT-2 small, without embeddings and cache",
        published=Published(
            7_087_872, None, "the 124 million of GPT-2 small without its embeddings, over its 12 blocks"
        ),
        dims={"seq": 128},
    ),
    Network(
        name="encoder-small",
        family="encoder",
        build=small_encoder,
        source="chosen here, in the form of Vaswani et al., NIPS 2017: 4 layers of 256 with 4 heads and 1024 between",
        shapes=tuple(
            line
            for layer in range(1, _SMALL_LAYERS + 1)
            for line in (
                f"layer {layer}, queries, keys, values (MatMul): 1 x seq x 768",
                f"layer {layer}, scores (MatMul): 1 x 4 x seq x seq",
                f"layer {layer}, weighed (MatMul): 1 x 4 x seq x 64",
                f"layer {layer}, projected (MatMul): 1 x seq x 256",
                f"layer {layer}, wide (MatMul): 1 x seq x 1024",
                f"layer {layer}, narrow (MatMul): 1 x seq x 256",
            )
        ),
        dims={"seq": 128},
    ),
)
