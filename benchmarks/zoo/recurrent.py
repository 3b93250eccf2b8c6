"""Recurrent networks for text and speech; the length of the sequence is open in all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import onnx
from onnx import TensorProto

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published

_GATES = {"LSTM": 4, "GRU": 3}

_SPEECH_BINS, _SPEECH_HIDDEN, _SPEECH_LAYERS, _SPEECH_CHARACTERS = 161, 768, 7, 29
_SOURCE_WORDS, _TARGET_WORDS, _WORD_SIZE, _TRANSLATION_HIDDEN = 7853, 5893, 256, 512
_REVIEW_WORDS, _REVIEW_SIZE = 20_000, 128
_GLOVE_SIZE = 300
_KEYWORD_FEATURES, _KEYWORD_HIDDEN, _KEYWORDS = 40, 256, 12


@dataclass(frozen=True, slots=True)
class _Unrolled:
    """What a recurrent layer puts out: all steps (seq x directions x 1 x hidden), and the states after the last one."""

    steps: str
    states: tuple[str, ...]


def _recurrent(
    b: Builder,
    op_type: str,
    x: str,
    in_size: int,
    hidden: int,
    *,
    both_ways: bool = False,
    initial: Sequence[str] = (),
) -> _Unrolled:
    """Add a recurrent layer to a sequence, seq x 1 x in_size; `initial` are the states before the first step."""
    ways, rows = 1 + both_ways, _GATES[op_type] * hidden
    weight = b.weight(ways, rows, in_size, fan_in=in_size, gain=1.0)
    recurrence = b.weight(ways, rows, hidden, fan_in=hidden, gain=1.0)
    # One bias of the inputs and one of the recurrence, behind each other.
    bias = b.weight(ways, 2 * rows, fan_in=10_000, gain=1.0)
    n_states = 2 if op_type == "LSTM" else 1
    # PyTorch's form of the GRU: the reset gate comes after the recurrent product.
    extra = {"linear_before_reset": 1} if op_type == "GRU" else {}
    y = b.node(
        op_type,
        *(x, weight, recurrence, bias, *(("", *initial) if initial else ())),
        outputs=1 + n_states,
        hidden_size=hidden,
        direction="bidirectional" if both_ways else "forward",
        **extra,
    )
    return _Unrolled(y, tuple(f"{y}.{number}" for number in range(1, 1 + n_states)))


def _joined(b: Builder, steps: str, *, both_ways: bool) -> str:
    """Turn the steps of a layer into seq x 1 x features: both directions behind each other."""
    if both_ways:
        return b.reshape(b.node("Transpose", steps, perm=[0, 2, 1, 3]), 0, 0, -1)
    return b.node("Squeeze", steps, b.axes(1))


def seq2seq() -> onnx.ModelProto:
    """Build an LSTM encoder and decoder; the decoder reads a given target, as in training and scoring."""
    b = Builder("seq2seq")
    x = _embedded(b, b.input("source", ("seq", 1), TensorProto.INT64), _SOURCE_WORDS, _WORD_SIZE)
    first = _recurrent(b, "LSTM", x, _WORD_SIZE, _TRANSLATION_HIDDEN)
    x = _joined(b, first.steps, both_ways=False)
    second = _recurrent(b, "LSTM", x, _TRANSLATION_HIDDEN, _TRANSLATION_HIDDEN)
    x = _embedded(b, b.input("target", ("seq", 1), TensorProto.INT64), _TARGET_WORDS, _WORD_SIZE)
    for in_size, encoder in ((_WORD_SIZE, first), (_TRANSLATION_HIDDEN, second)):
        decoder = _recurrent(b, "LSTM", x, in_size, _TRANSLATION_HIDDEN, initial=encoder.states)
        x = _joined(b, decoder.steps, both_ways=False)
    y = b.linear(x, _TRANSLATION_HIDDEN, _TARGET_WORDS)
    return b.model({y: ("seq", 1, _TARGET_WORDS)})


def _embedded(b: Builder, tokens: str, words: int, size: int) -> str:
    return b.node("Gather", b.weight(words, size, fan_in=1, gain=1.0), tokens, axis=0)


def deepspeech2() -> onnx.ModelProto:
    """Build Deep Speech 2: two convolutions over a spectrogram, seven bidirectional GRU layers, characters."""
    b = Builder("deepspeech2")
    x = b.input("spectrogram", (1, 1, _SPEECH_BINS, "seq"))
    x = _clipped(b, b.conv_bn(x, 32, (41, 11), stride=2, pad=(20, 5)))
    x = _clipped(b, b.conv_bn(x, 32, (21, 11), stride=(2, 1), pad=(10, 5)))
    in_size = 32 * 41
    x = b.node("Transpose", b.reshape(x, 1, in_size, -1), perm=[2, 0, 1])
    for layer in range(_SPEECH_LAYERS):
        if layer:
            x = _normalised(b, x, _SPEECH_HIDDEN)
        steps = _recurrent(b, "GRU", x, in_size, _SPEECH_HIDDEN, both_ways=True).steps
        x = b.node("ReduceSum", steps, b.axes(1), keepdims=0)
        in_size = _SPEECH_HIDDEN
    x = _normalised(b, x, _SPEECH_HIDDEN)
    y = b.node("Softmax", b.linear(x, _SPEECH_HIDDEN, _SPEECH_CHARACTERS, bias=False), axis=-1)
    return b.model({y: ("steps", 1, _SPEECH_CHARACTERS)})


def _clipped(b: Builder, x: str) -> str:
    return b.keep("Clip", x, b.scalar(0), b.scalar(20))


def _normalised(b: Builder, x: str, size: int) -> str:
    """Add a batch normalisation to each step: the steps become the rows of a matrix and steps again."""
    return b.reshape(b.batch_norm(b.reshape(x, -1, size, channels=size)), -1, 1, size)


def cove(hidden: int) -> onnx.ModelProto:
    """Build the encoder of CoVe: two bidirectional LSTM layers on word vectors."""
    b = Builder(f"cove-{hidden}")
    x = b.input("words", ("seq", 1, _GLOVE_SIZE))
    for in_size in (_GLOVE_SIZE, 2 * hidden):
        x = _joined(b, _recurrent(b, "LSTM", x, in_size, hidden, both_ways=True).steps, both_ways=True)
    return b.model({x: ("seq", 1, 2 * hidden)})


def imdb_lstm() -> onnx.ModelProto:
    """Build the classifier of film reviews: word vectors, one LSTM layer, one neuron."""
    b = Builder("imdb-lstm")
    x = _embedded(b, b.input("tokens", ("seq", 1), TensorProto.INT64), _REVIEW_WORDS, _REVIEW_SIZE)
    last = _recurrent(b, "LSTM", x, _REVIEW_SIZE, _REVIEW_SIZE).states[0]
    y = b.node("Sigmoid", b.dense(b.node("Squeeze", last, b.axes(0)), _REVIEW_SIZE, 1))
    return b.model({y: (1, 1)})


def gru() -> onnx.ModelProto:
    """Build a spotter of keywords: two GRU layers over frames of speech, one word from the last state."""
    b = Builder("gru-keywords")
    x = b.input("frames", ("seq", 1, _KEYWORD_FEATURES))
    layer = _recurrent(b, "GRU", x, _KEYWORD_FEATURES, _KEYWORD_HIDDEN)
    x = _joined(b, layer.steps, both_ways=False)
    last = _recurrent(b, "GRU", x, _KEYWORD_HIDDEN, _KEYWORD_HIDDEN).states[0]
    y = b.node("Softmax", b.dense(b.node("Squeeze", last, b.axes(0)), _KEYWORD_HIDDEN, _KEYWORDS), axis=1)
    return b.model({y: (1, _KEYWORDS)})


def _cove_network(hidden: int, *, paper: str) -> Network:
    return Network(
        name=f"cove-{hidden}",
        family="cove",
        build=partial(cove, hidden),
        source=(
            f"McCann et al., NIPS 2017: two bidirectional LSTM layers of {hidden} units on GloVe's 300 numbers a word; "
            f"{paper}"
        ),
        shapes=(
            f"layer 1 (LSTM): seq x 2 x 1 x {hidden}",
            f"joined (Reshape): seq x 1 x {2 * hidden}",
            f"layer 2 (LSTM): seq x 2 x 1 x {hidden}",
            f"joined (Reshape): seq x 1 x {2 * hidden}",
        ),
        dims={"seq": 32},
    )


NETWORKS: tuple[Network, ...] = (
    Network(
        name="seq2seq",
        family="seq2seq",
        build=seq2seq,
        source=(
            "Sutskever et al., NIPS 2014, in the size of bentrevett/pytorch-seq2seq's first notebook (two layers of "
            "512, Multi30k's vocabularies); the target is an input, as long as the source"
        ),
        published=Published(13_898_501, None, "bentrevett/pytorch-seq2seq, first notebook"),
        dims={"seq": 32},
    ),
    Network(
        name="deepspeech2",
        family="deepspeech2",
        build=deepspeech2,
        source=(
            "Amodei et al., ICML 2016, as SeanNaren/deepspeech.pytorch has it: 2 convolutions, 7 bidirectional GRU "
            "layers of 768 whose directions are summed, 29 characters; three seconds of speech"
        ),
        published=Published(
            52e6, None, "SeanNaren/deepspeech.pytorch, issue 608, where the two directions share no weights"
        ),
        dims={"seq": 300},
    ),
    _cove_network(300, paper="the size of the paper"),
    _cove_network(200, paper="the smaller one of the CRIME papers"),
    Network(
        name="imdb-lstm",
        family="imdb-lstm",
        build=imdb_lstm,
        source="Keras's example of an LSTM on IMDB's reviews: 20000 words of 128 numbers, 128 units, 80 words a review",
        published=Published(2_691_713, None, "Keras's summary of the example; ONNX keeps a second bias of 512 numbers"),
        dims={"seq": 80},
    ),
    Network(
        name="gru-keywords",
        family="gru",
        build=gru,
        source="chosen here: two GRU layers of 256 over one second of 40 features each 10 ms, 12 keywords",
        shapes=(
            "layer 1 (GRU): seq x 1 x 1 x 256",
            "layer 2 (GRU): seq x 1 x 1 x 256",
            "last state (Squeeze): 1 x 256",
            "keywords (Gemm): 1 x 12",
        ),
        dims={"seq": 100},
    ),
)
