"""Is every text in a model UTF-8? protobuf hands out damaged ones as bytes, and the runtime trips over them."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from onnx import ModelProto

from graph_io.errors import ModelError


def check_text(proto: ModelProto, label: str) -> None:
    """Refuse a model in which a name or another text is not UTF-8. Linear; the contents of weights are not touched.

    Raises
    ------
    ModelError
    """
    damaged = next(_damaged(proto), None)
    if damaged is not None:
        field, content = damaged
        raise ModelError(
            f"model '{label}': a text in it is not UTF-8 (field '{field}', {content[:40]!r}); "
            "the file is damaged, export or download it again"
        )


def _damaged(message: Any) -> Iterator[tuple[str, bytes]]:
    texts, lists_of_texts, messages, lists_of_messages = _fields(message.__class__)
    for name in texts:
        content = getattr(message, name)
        if isinstance(content, bytes):
            yield name, content
    for name in lists_of_texts:
        yield from ((name, content) for content in getattr(message, name) if isinstance(content, bytes))
    for name in messages:
        if message.HasField(name):
            yield from _damaged(getattr(message, name))
    for name in lists_of_messages:
        for inner in getattr(message, name):
            yield from _damaged(inner)


@cache
def _fields(kind: Callable[[], Any]) -> tuple[tuple[str, ...], ...]:
    """Return the names of a message's fields that are texts, lists of texts, messages, and lists of messages."""
    empty = kind()
    sorted_out: tuple[list[str], ...] = ([], [], [], [])
    for field in empty.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING or field.message_type is not None:
            # Asked of an empty message, because protobuf's own word for it has changed between releases.
            is_list = hasattr(getattr(empty, field.name), "extend")
            sorted_out[2 * (field.message_type is not None) + is_list].append(field.name)
    return tuple(tuple(names) for names in sorted_out)
