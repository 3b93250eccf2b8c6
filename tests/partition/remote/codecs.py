"""Codecs of inputs for tests: one that loses what is beyond a byte, and some that do what none should."""

import zlib

import numpy as np


class Bytewise:
    """Numbers from -1 to 1 in a byte each, deflated; `shape` is that of the model's input."""

    def __init__(self, name="bytewise", shape=(1, 4), dtype=np.float32, most_bytes=1 << 20):
        self.name = name
        self.shape, self.dtype, self.most_bytes = shape, dtype, most_bytes

    def encode(self, array):
        return zlib.compress(np.round((np.clip(array, -1, 1) + 1) * 127.5).astype(np.uint8).tobytes())

    def decode(self, content):
        inflater = zlib.decompressobj()
        plain = inflater.decompress(content, self.most_bytes)
        if not inflater.eof or inflater.unused_data:
            raise ValueError("not a whole message, or too long a one")
        return (np.frombuffer(plain, np.uint8).reshape(self.shape) / 127.5 - 1).astype(self.dtype)


class Failing(Bytewise):
    """Its encoder or decoder raises, or gives what it should not."""

    def __init__(self, encode=None, decode=None, **more):
        super().__init__(**more)
        self._encode, self._decode = encode, decode

    def encode(self, array):
        return super().encode(array) if self._encode is None else self._encode(array)

    def decode(self, content):
        return super().decode(content) if self._decode is None else self._decode(content)


BYTEWISE = Bytewise()
NOT_A_CODEC = object()
