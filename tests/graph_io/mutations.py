"""Model files that are wrong in ways that nobody thought of: seeded mutations of good ones, of bytes and of fields."""

import contextlib
import random
from functools import cache
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from tests.graph_io.hard_models import HARD_MODELS
from tests.models import model, node, random_model, transformer_block

# A message below the model is found in so many steps down.
_DEEPEST = 9
_INTEGERS = (0, -1, 1, 2, 7, 255, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63))
_TEXTS = ("", "x", "y", "a", "t0", "\0", "é" * 5, "x" * 1000, "../w", "If", "Loop", "Conv", "MatMul", "com.microsoft")
_FLOATS = (0.0, -0.0, float("nan"), float("inf"), 1e38)


@cache
def bases() -> tuple[bytes, ...]:
    """Return the files to start from: control flow, functions, quantised, sparse, random, one with convolutions."""
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_squeezenet.onnx"
    models = [
        *(build() for build in HARD_MODELS.values()),
        transformer_block(blocks=1),
        *(random_model(seed) for seed in range(10)),
        model([node("Tanh", "x", "y")], {"x": ("n", "seq")}, ["y"]),
    ]
    return (*(one.SerializeToString() for one in models), light.read_bytes())


def mutated(number: int, *, seed: int = 0) -> bytes:
    """Return case `number` of a sequence; the same for the same seed, whatever came before."""
    generator = random.Random(f"{seed}/{number}")
    content = generator.choice(bases())
    for _ in range(generator.choice((1, 1, 1, 1, 3))):
        content = _fields(generator, content) if generator.random() < 0.8 else _bytes(generator, content)
    return content


def _bytes(generator: random.Random, content: bytes) -> bytes:
    """Flip bits, cut short, swap, insert, delete, or write a piece of another file over this one."""
    changed = bytearray(content or b"\0")
    place, other = (generator.randrange(len(changed)) for _ in range(2))
    length = generator.randrange(1, 64)
    match generator.randrange(6):
        case 0:
            for _ in range(generator.randrange(1, 6)):
                changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        case 1:
            del changed[place:]
        case 2:
            first, second = sorted((place, other))
            length = min(length, second - first)
            here, there = changed[first : first + length], changed[second : second + length]
            changed[first : first + length], changed[second : second + length] = there, here
        case 3:
            changed[place:place] = generator.randbytes(length % 12 + 1)
        case 4:
            del changed[place : place + length % 12 + 1]
        case _:
            source = generator.choice(bases())
            start = generator.randrange(len(source))
            changed[place : place + length] = source[start : start + length]
    return bytes(changed)


def _fields(generator: random.Random, content: bytes) -> bytes:
    """Change, remove, double, swap or graft a field somewhere inside, or put in one that nobody knows."""
    whole = ModelProto()
    try:
        whole.ParseFromString(content)
    except DecodeError:
        return _bytes(generator, content)
    for _ in range(generator.choice((1, 1, 2))):
        _change(generator, whole)
    return bytes(whole.SerializeToString())


def _change(generator, whole):
    message = whole
    for _ in range(generator.randrange(1, _DEEPEST)):
        inner = [(field, value) for field, value in message.ListFields() if field.message_type is not None]
        if not inner:
            break
        field, value = generator.choice(inner)
        message = generator.choice(list(value)) if hasattr(value, "add") else value
    fields = message.ListFields()
    if not fields or generator.random() < 0.1:
        _merge(message, _random_field(generator))
        return
    field, value = generator.choice(fields)
    listed = hasattr(value, "extend")
    if field.message_type is None:
        new = _scalar(generator, field, value[0] if listed else value)
        # A number out of the field's range.
        with contextlib.suppress(ValueError):
            if not listed:
                setattr(message, field.name, new)
            elif generator.random() < 0.7:
                value[generator.randrange(len(value))] = new
            else:
                _rearrange(generator, value)
    elif listed and generator.random() < 0.6:
        _rearrange(generator, value)
    else:
        target = value[generator.randrange(len(value))] if listed else value
        _merge(target, _graft(generator, type(target)))


def _rearrange(generator, entries):
    """Remove, double or swap entries of a list."""
    here, there = (generator.randrange(len(entries)) for _ in range(2))
    match generator.randrange(3):
        case 0:
            del entries[here]
        case 1:
            # Copied first: some lists take messages by copy alone.
            entries.extend([entries[here]])
        case _ if hasattr(entries, "add"):
            first, second = type(entries[here])(), type(entries[there])()
            first.CopyFrom(entries[here])
            second.CopyFrom(entries[there])
            entries[here].CopyFrom(second)
            entries[there].CopyFrom(first)
        case _:
            entries[here], entries[there] = entries[there], entries[here]


def _scalar(generator, field, value):
    if field.enum_type is not None:
        return generator.choice(field.enum_type.values).number
    if isinstance(value, bytes):
        # Of a name, too, where bytes that are no text were put in before.
        return generator.choice((generator.randbytes(generator.randrange(20)), value[: len(value) // 2], value * 2))
    if isinstance(value, str):
        return generator.choice(_TEXTS)
    if isinstance(value, float):
        return generator.choice(_FLOATS)
    return generator.choice((*_INTEGERS, generator.randrange(-10, 100)))


def _merge(message, content):
    try:
        message.MergeFromString(content)
    except DecodeError:
        return


def _random_field(generator):
    """Make a field on the wire: any number, any of the four kinds, its length right."""
    number, kind = generator.randrange(1, 40), generator.choice((0, 1, 2, 5))
    tag = _varint(number << 3 | kind)
    match kind:
        case 0:
            return tag + _varint(generator.choice((0, 1, 2**31, 2**63, 2**64 - 1)))
        case 1:
            return tag + generator.randbytes(8)
        case 2:
            body = generator.randbytes(generator.randrange(20))
            return tag + _varint(len(body)) + body
        case _:
            return tag + generator.randbytes(4)


def _varint(number):
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


def _graft(generator, kind):
    """Return a message of this kind from another file, serialised; nothing if that file has none."""
    other = ModelProto.FromString(generator.choice(bases()))
    found = []
    pending = [other]
    while pending:
        message = pending.pop()
        if isinstance(message, kind):
            found.append(message)
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending.extend(value if hasattr(value, "add") else [value])
    return generator.choice(found).SerializeToString() if found else b""
