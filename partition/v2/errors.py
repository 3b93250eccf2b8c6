"""What a message of the protocol can be refused for: one class, with the HTTP status that says it."""

from partition.errors import InputError


class ProtocolError(InputError):
    """A request or a response cannot be read or written; the message says what is wrong with it.

    Attributes
    ----------
    status : int
        The HTTP status that a server answers with; 502 for a response that a client cannot read.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def shown(name: object) -> str:
    """Return a name from outside in quotes, cut short and on one line, for a message."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:76]}...'"
