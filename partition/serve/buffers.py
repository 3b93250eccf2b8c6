"""Memory for bodies, used again: pages that the system must first clear would cost as much time as the transfer."""

import threading

import numpy as np

from partition.v2.tensors import Array

_LEAST_BYTES = 64 * 1024
_ALIGNMENT = 64


class BufferPool:
    """Buffers of powers of two; so many bytes of them are kept for the next request."""

    def __init__(self, kept_bytes: int) -> None:
        self._bytes_left = kept_bytes
        self._free: dict[int, list[Array]] = {}
        self._lock = threading.Lock()

    def take(self, size_bytes: int) -> Array:
        """Return a buffer of at least so many bytes, and some for alignment."""
        capacity = max(_LEAST_BYTES, 1 << (size_bytes + _ALIGNMENT - 1).bit_length())
        with self._lock:
            free = self._free.get(capacity)
            if free:
                self._bytes_left += capacity
                return free.pop()
        return np.empty(capacity, np.uint8)

    def give(self, buffer: Array) -> None:
        """Take a buffer back; nobody may use it afterwards."""
        with self._lock:
            if buffer.size <= self._bytes_left:
                self._bytes_left -= buffer.size
                self._free.setdefault(buffer.size, []).append(buffer)


def aligned(buffer: Array, size_bytes: int, json_bytes: int) -> memoryview:
    """Return so many bytes of a buffer, placed so that what follows the JSON is aligned and can be used where it is."""
    start = -(buffer.ctypes.data + json_bytes) % _ALIGNMENT
    return buffer.data[start : start + size_bytes]
