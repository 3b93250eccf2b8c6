"""The server: it listens, gives each client a thread, and ends when all that was begun is answered."""

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from partition.errors import InputError
from partition.serve.coding import BodyCoding
from partition.serve.connection import Connection
from partition.serve.http import error_response, write_head
from partition.serve.limits import Limits
from partition.serve.logs import LOGGER
from partition.serve.registry import ServedModel, open_models
from partition.serve.service import Service
from partition.units import check_threads
from partition.v2.input_codec import InputCodec

_POLL_S = 0.1
_BACKLOG = 512


class Server:
    """Serves saved folders in threads of this process; a context manager that starts it and lets it end.

    Parameters
    ----------
    folders : sequence of path
        What `Plan.save` or `ModelParts.save` wrote; all parts are opened at once.
    host, port : str, int
        Where to listen; port 0 takes a free one.
    all_parts : bool
        Serve every run of consecutive parts, not only the stages of the plans.
    threads : int, optional
        Of each part's session; the plan's, else the runtime's choice.
    token : str, optional
        Asked of every request but those for health, as ``Authorization: Bearer TOKEN``.
    certificate, key : path, optional
        PEM files; with them it speaks TLS alone.
    limits : Limits
    codecs : iterable of InputCodec
        By which inputs may come that a plan was priced with as encoded; requests name one of them.
    compression : bool, optional
        Whether to take and give bodies that are compressed by zstd, where a client wants it; where the package
        zstandard is installed if not given.

    Raises
    ------
    InputError
        A folder or a file that cannot be used, an address that cannot be listened on, or compression that is wanted
        and not installed.

    Examples
    --------
    >>> with Server(["out/"]) as server:                           # doctest: +SKIP
    ...     print(server.url, list(server.models))
    """

    def __init__(
        self,
        folders: Sequence[str | os.PathLike[str]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        all_parts: bool = False,
        threads: int | None = None,
        token: str | None = None,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        codecs: Iterable[InputCodec] = (),
        compression: bool | None = None,
    ) -> None:
        if threads is not None:
            check_threads(threads)
        if token is not None:
            _check_token(token)
        if not 0 <= port <= 65535:
            raise InputError(f"port is {port}; legal are 0 (any that is free) to 65535")
        self._limits = limits or Limits()
        self._tls = _tls_context(certificate, key)
        concurrency = self._limits.concurrency or max(1, (os.cpu_count() or 1) // threads if threads else 1)
        self._service = Service(
            open_models(folders, all_parts=all_parts, threads=threads, codecs=codecs),
            self._limits,
            concurrency=concurrency,
            token=token,
            compression=compression,
        )
        self._listener = _listen(host, port)
        self._connections: set[Connection] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._acceptor: threading.Thread | None = None

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """The models by name."""
        return self._service.models

    @property
    def compression(self) -> BodyCoding:
        """Whether it takes and gives compressed bodies, and if not, why."""
        return self._service.coding

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to answer; returns at once."""
        self._acceptor = threading.Thread(target=self._accept, name="dnn-partition-accept", daemon=True)
        self._acceptor.start()

    def stop(self) -> bool:
        """Refuse new requests, let what was begun end, and close all connections.

        Returns
        -------
        bool
            Whether all of it ended within the time for it.
        """
        self._service.draining = True
        deadline = time.monotonic() + self._limits.drain_timeout_s
        while (busy := self._busy()) and time.monotonic() < deadline:
            time.sleep(_POLL_S / 10)
        self._stopped.set()
        if self._acceptor is not None:
            self._acceptor.join()
        self._listener.close()
        with self._lock:
            left = list(self._connections)
        for connection in left:
            connection.end()
        while self._connections and time.monotonic() < deadline:
            time.sleep(_POLL_S / 10)
        return not busy

    def _busy(self) -> bool:
        with self._lock:
            return any(connection.busy for connection in self._connections)

    def _accept(self) -> None:
        self._listener.settimeout(_POLL_S)
        while not self._stopped.is_set():
            try:
                client, address = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                # Out of descriptors or memory: those that are open go on.
                LOGGER.error("a connection was not accepted", extra={"fields": {"reason": str(error)}})
                time.sleep(_POLL_S)
                continue
            try:
                self._welcome(client, str(address[0]))
            except Exception:
                LOGGER.exception("a connection was not accepted")
                client.close()

    def _welcome(self, client: socket.socket, address: str) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._make_room():
            client.setblocking(False)
            response = error_response("too many connections are open; try again later", 503)
            client.send(write_head(response, closes=True) + b"".join(map(bytes, response.chunks)))
            client.close()
            return
        if self._tls is not None:
            client = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        connection = Connection(self._service, client, address)
        with self._lock:
            self._connections.add(connection)
            self._service.connections = len(self._connections)
        try:
            threading.Thread(target=self._serve, args=(connection,), name="dnn-partition-client", daemon=True).start()
        except RuntimeError:
            self._forget(connection)
            raise

    def _make_room(self) -> bool:
        """End the connection that has been idle for longest if there are too many; say whether there is room."""
        with self._lock:
            if len(self._connections) < self._limits.connections:
                return True
            idle = [connection for connection in self._connections if not connection.busy]
            if not idle:
                return False
            oldest = min(idle, key=lambda connection: connection.since_s)
            self._connections.discard(oldest)
        oldest.end()
        return True

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)
            self._service.connections = len(self._connections)


def _check_token(token: str) -> None:
    if not token or not token.isascii() or not token.isprintable() or " " in token or len(token) > 4096:
        raise InputError("the token is empty, too long, or has other characters than printable ASCII without blanks")


def _tls_context(
    certificate: str | os.PathLike[str] | None, key: str | os.PathLike[str] | None
) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise InputError("a key was given without a certificate; pass both for TLS")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key that is encrypted is refused: nobody is there to type.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"certificate '{certificate}' or its key cannot be used: {reason}; pass PEM files, the key not encrypted"
        ) from error
    return context


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another --port or --host"
        ) from error
