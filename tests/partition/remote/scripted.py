"""A server that sends exactly the bytes it is told to, for answers that no real server gives."""

import socket
import threading
import time


class ScriptedServer:
    """Answers each request with the next of some scripts: bytes, seconds to wait, or "close"; the last repeats."""

    def __init__(self, *scripts):
        self._scripts = list(scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests = []
        self.n_connections = 0
        self._open = []
        self._stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stopped = True
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self):
        while not self._stopped:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.n_connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            while True:
                request = self._read(connection)
                if request is None:
                    return
                self.requests.append(request)
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                for step in script if isinstance(script, list) else [script]:
                    if step == "close":
                        connection.close()
                        return
                    if isinstance(step, bytes):
                        connection.sendall(step)
                    else:
                        time.sleep(step)
        except OSError:
            return

    def _read(self, connection):
        content = b""
        while b"\r\n\r\n" not in content:
            received = connection.recv(65536)
            if not received:
                return None
            content += received
        head, _, body = content.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            body += connection.recv(65536)
        return head, body


def answer(body=b"", *, status=b"200 OK", headers=b""):
    """Write a plain answer."""
    return b"HTTP/1.1 " + status + b"\r\n" + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body
