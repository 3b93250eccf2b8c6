"""What a server takes on at most, and how long it waits."""

from dataclasses import dataclass, fields

from partition.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server; beyond them it answers 413 or 503, or ends the connection.

    Attributes
    ----------
    concurrency : int or None
        Inferences that run at once; None for as many as the processors and the threads of one allow.
    queue : int
        Requests that wait for that, beyond which it answers 503.
    queue_timeout_s : float
        Longest wait there, after which it answers 503.
    body_bytes : int
        Of one request.
    waiting_bytes : int
        Of all requests that are being received, wait or run.
    connections : int
        Open at once; a new one ends the one that has been idle for longest.
    head_timeout_s, transfer_timeout_s, idle_timeout_s : float
        From a request's first byte to the end of its headers; for a whole body, in and out; between two requests.
    drain_timeout_s : float
        For what runs when the server is asked to end.
    """

    concurrency: int | None = None
    queue: int = 32
    queue_timeout_s: float = 10.0
    body_bytes: int = 64 * 1024 * 1024
    waiting_bytes: int = 512 * 1024 * 1024
    connections: int = 512
    head_timeout_s: float = 10.0
    transfer_timeout_s: float = 60.0
    idle_timeout_s: float = 120.0
    drain_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "concurrency" and value is None:
                continue
            least = 0 if one.name == "queue" else 1 if one.type in (int, int | None) else 0.001
            number = isinstance(value, int if isinstance(least, int) else (int, float)) and not isinstance(value, bool)
            if not number or not least <= value <= 2**48:
                raise InputError(f"limit {one.name} is {value!r}; legal is a number from {least}")
        if self.waiting_bytes < self.body_bytes:
            raise InputError(
                f"limit waiting_bytes is {self.waiting_bytes}, less than one body of {self.body_bytes} bytes may have; "
                "raise it, or lower body_bytes"
            )
