"""A forwarder between client and server that fails on purpose: the mock of broken networks and broken servers."""

import contextlib
import socket
import threading
import time
from typing import Literal

Mode = Literal["forward", "garbage", "refuse", "cut", "late", "freeze"]
GARBAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n\x00\xff{not an answer}...."
_CHUNK_BYTES = 1 << 16


class FaultyLink:
    """Forwards connections to a port of this machine, or does what `mode` says.

    Attributes
    ----------
    mode : str
        "garbage" answers with what is no answer, "refuse" closes new connections and drops old ones, "cut" closes
        after some bytes of an answer, "late" holds each answer back for `late_s`, "freeze" holds everything back.
    """

    def __init__(self, port: int, *, late_s: float = 1.0) -> None:
        self.mode: Mode = "forward"
        self.late_s = late_s
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pairs: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "FaultyLink":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Close all connections."""
        for one in list(self._pairs):
            _close(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=2.0)
            except OSError:
                client.close()
                continue
            for one in (client, server):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pairs.add(one)
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while content := client.recv(_CHUNK_BYTES):
                self._hold()
                if self.mode == "garbage":
                    client.sendall(GARBAGE)
                    break
                server.sendall(content)
        except OSError:
            pass
        self._end(client, server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while content := server.recv(_CHUNK_BYTES):
                self._hold()
                if self.mode == "late":
                    time.sleep(self.late_s)
                if self.mode == "cut":
                    client.sendall(content[: len(content) // 2])
                    break
                client.sendall(content)
        except OSError:
            pass
        self._end(client, server)

    def _hold(self) -> None:
        while self.mode == "freeze":
            time.sleep(0.005)

    def _end(self, *pair: socket.socket) -> None:
        for one in pair:
            self._pairs.discard(one)
            _close(one)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
