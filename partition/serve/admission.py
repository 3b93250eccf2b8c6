"""Who may run: a bounded number at once, a bounded queue in the order of arrival, a bounded number of bytes."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from partition.v2.errors import ProtocolError


class Admission:
    """Lets `concurrency` inferences run, `queue` wait, and `waiting_bytes` of bodies lie in memory."""

    def __init__(self, *, concurrency: int, queue: int, queue_timeout_s: float, waiting_bytes: int) -> None:
        self.concurrency = concurrency
        self._queue = queue
        self._queue_timeout_s = queue_timeout_s
        self._bytes_left = waiting_bytes
        self._lock = threading.Lock()
        self._running = 0
        # Of each who waits, a lock that is released when a slot is handed over.
        self._waiting: deque[threading.Lock] = deque()

    @property
    def running(self) -> int:
        """Inferences that run now."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests in the queue now."""
        return len(self._waiting)

    def enter(self) -> None:
        """Take a slot, or wait for one; `leave` gives it back.

        Raises
        ------
        ProtocolError
            Status 503: the queue is full, or the wait was too long.
        """
        with self._lock:
            if self._running < self.concurrency:
                self._running += 1
                return
            if len(self._waiting) >= self._queue:
                raise ProtocolError("the queue is full; try again later", 503)
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=self._queue_timeout_s):
            return
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                raise ProtocolError("the wait in the queue was too long; try again later", 503)
        # The slot was handed over in the same moment.

    def leave(self) -> None:
        """Hand the slot to the first in the queue."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._running -= 1

    @contextmanager
    def body(self, size_bytes: int) -> Iterator[None]:
        """Reserve the memory of a body.

        Raises
        ------
        ProtocolError
            Status 503: there is too much already.
        """
        with self._lock:
            if size_bytes > self._bytes_left:
                raise ProtocolError("too many bytes of requests are waiting; try again later", 503)
            self._bytes_left -= size_bytes
        try:
            yield
        finally:
            with self._lock:
                self._bytes_left += size_bytes
