"""Inputs that travel encoded, such as an image as JPEG: the pair of encoder and decoder, and what may go wrong in it.

A codec is the user's own object. It is handed to a session or named to a command by its operator; what comes over the
wire is its name alone, which is looked up among those that the server was given.
"""

import re
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.plan import Plan, Runnable
from partition.v2.errors import ProtocolError

Array = NDArray[Any]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REFERENCE = re.compile(r"(\w+(?:\.\w+)*):(\w+)")
_LONGEST_REASON = 200
_PARAMETER = "codec."

CODECS_PARAMETER = "codecs"
"""Of an input in a model's metadata: the names of the codecs by which it may come, with commas between."""


class InputCodec(Protocol):
    """Encodes an input on the device and decodes it on the server; any object with these three will do.

    Both may be called from several threads at once: by a server that answers several requests, and by a session whose
    `run` or `run_async` has several under way. A stream encodes one input after the other, but may decode several.

    `decode` gets whatever a client sends. It raises an exception for what it cannot read, and bounds by itself how much
    memory a message makes it take.
    """

    @property
    def name(self) -> str:
        """By which both sides know it: letters, digits, ``_``, ``.`` and ``-``, at most 64."""

    def encode(self, array: Array) -> bytes:
        """Return what travels."""

    def decode(self, content: bytes) -> Array:
        """Return an array of the type and shape that the model takes."""


class InputCodecs:
    """The codecs of a session: of each input that a plan sends encoded, one.

    Parameters
    ----------
    plan : Plan or ModelParts
    codecs : mapping of str to InputCodec, or None
        By input.

    Raises
    ------
    InputError
        An input that the plan sends encoded has none, one is for another input, or is none.
    """

    def __init__(self, plan: Runnable, codecs: Mapping[str, InputCodec] | None) -> None:
        encoded = plan.encoded_inputs
        if codecs is not None and not isinstance(codecs, Mapping):
            raise InputError(f"codecs is a {type(codecs).__name__}; give a mapping of inputs to codecs")
        given = dict(codecs or {})
        self._codecs = {name: checked_codec(one, f"codecs: that of '{name}'") for name, one in given.items()}
        odd = next((name for name in self._codecs if name not in encoded), None)
        if odd is not None:
            legal = f"legal are {', '.join(encoded)}" if encoded else "it has none, so leave codecs out"
            raise InputError(f"codecs: '{odd}' is no input that the plan was priced with as encoded; {legal}")
        sent = {name for one in plan.messages for name in one.tensors} if isinstance(plan, Plan) else set()
        for name in encoded:
            if name in sent and name not in self._codecs:
                raise InputError(
                    f"input '{name}' was priced as {encoded[name]} encoded bytes, and this plan sends it; give its "
                    f"encoder and decoder (codecs={{'{name}': ...}}, or --codec), or plan again without input_bytes"
                )
        self.names = {name: codec.name for name, codec in self._codecs.items()}
        """The codec's name of each input that travels encoded."""

    def encode(self, name: str, array: Array) -> bytes:
        """Encode an input.

        Raises
        ------
        InputError
            The codec fails, or gives something else than bytes.
        """
        codec = self._codecs[name]
        try:
            content = codec.encode(array)
        except Exception as error:
            raise InputError(f"codec '{codec.name}' cannot encode input '{name}': {_reason(error)}") from error
        if not isinstance(content, bytes | bytearray | memoryview):
            raise InputError(f"codec '{codec.name}' encoded input '{name}' as {type(content).__name__}, expected bytes")
        return bytes(content)

    def decode(self, name: str, content: bytes) -> Array:
        """Decode an input; its type and shape are the caller's to check.

        Raises
        ------
        InputError
            The codec fails, or gives something else than an array.
        """
        return decoded(self._codecs[name], name, content)


def checked_codec(codec: object, what: str) -> InputCodec:
    """Return a codec, after a look at what it has.

    Raises
    ------
    InputError
        It lacks a name, an encoder or a decoder.
    """
    name = getattr(codec, "name", None)
    missing = [one for one in ("encode", "decode") if not callable(getattr(codec, one, None))]
    if isinstance(codec, type) or missing or not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{what} is {_short(codec)}; give an object with a name (letters, digits, '_', '.', '-', at most 64), "
            "encode(array) and decode(bytes)"
        )
    return codec  # type: ignore[return-value]


def load_codec(reference: str, what: str = "--codec") -> InputCodec:
    """Import a codec by the name that an operator gives; nothing that came from elsewhere is passed here.

    Parameters
    ----------
    reference : str
        ``"package.module:object"``.
    what : str
        For the message.

    Raises
    ------
    InputError
        Not such a name, a module that cannot be imported, or an object that is no codec.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise InputError(f"{what} is {reference!r}; give such as 'package.module:object'")
    module, name = found.groups()
    try:
        codec = getattr(import_module(module), name)
    except Exception as error:  # a module may raise anything
        raise InputError(
            f"{what} {reference!r} cannot be imported: {_reason(error)}; install its package, or put it into PYTHONPATH"
        ) from error
    return checked_codec(codec, f"{what} {reference!r}")


def decoded(codec: InputCodec, name: str, content: bytes) -> Array:
    """Decode an input with a codec; see `InputCodecs.decode`."""
    try:
        array = codec.decode(content)
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(f"codec '{codec.name}' cannot decode input '{name}': {_reason(error)}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"codec '{codec.name}' decoded input '{name}' to {type(array).__name__}, expected an array")
    return array


def codec_parameters(names: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a request that tell which inputs come encoded, and by which codec."""
    return {f"{_PARAMETER}{name}": codec for name, codec in names.items()}


def codecs_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return which inputs of a request come encoded, each with the name of its codec.

    Raises
    ------
    ProtocolError
        A name that cannot be one.
    """
    found = {}
    for key, codec in parameters.items():
        if key.startswith(_PARAMETER):
            if not isinstance(codec, str) or not _NAME.fullmatch(codec):
                raise ProtocolError(f"the parameter {_short(key)} is {_short(codec)}; legal is the name of a codec")
            found[key.removeprefix(_PARAMETER)] = codec
    return found


def wire_array(content: bytes) -> Array:
    """Return encoded bytes as the tensor that travels: BYTES, one element."""
    array = np.empty(1, np.object_)
    array[0] = content
    return array


def known(codecs: Collection[str]) -> str:
    """Return names of codecs for a message."""
    return ", ".join(f"'{name}'" for name in codecs) or "none"


def _reason(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}..."
