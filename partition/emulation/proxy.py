"""A TCP proxy that is an emulated link: bytes, order and errors as they are, at the link's rate and delay.

It needs no privileges and runs in a thread of its own; what it serves does not know of it.
"""

import asyncio
import select
import selectors
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from partition.emulation.clock import RealClock
from partition.emulation.connection import Bottleneck, OneWay, close, run_both_ways
from partition.emulation.link import DIRECTIONS, Direction, EmulatedLink
from partition.errors import InputError

DEFAULT_QUEUE_BYTES = 256 * 1024
"""How much waits before each direction of the link; a sender of more is held back."""

_LEAST_QUEUE_BYTES = 1500
_BACKLOG = 128
_COMMAND_TIMEOUT_S = 10.0
_RETRY_S = 0.05
_LAST_PORT = 65535
# The system doubles it. Less than a few of the loopback's segments of 64 KB would stall.
_RECEIVE_BYTES = 256 * 1024
# FD_SETSIZE.
_MOST_SELECTABLE = 1024

_Result = TypeVar("_Result")


class Proxy:
    """Listens on one address and carries every connection to another one over an emulated link.

    Parameters
    ----------
    target_host, target_port : str, int
        Where connections lead.
    link : EmulatedLink
        With a real clock. All connections share its two directions; ``uplink`` leads to the target. Its
        `per_message_s` is not used: a proxy sees bytes, not messages.
    host, port : str, int
        Where to listen; port 0 takes a free one, see `port`.
    cold_start : bool
        A new connection carries nothing for one round trip, as its handshake would take, and its window begins at ten
        segments of 1460 bytes and doubles with each round trip, in each direction.
    queue_bytes : int
        How much waits before each direction, at least 1500.

    Raises
    ------
    InputError
        The link's clock is not real, the queue is too small, or the address cannot be listened on.

    Examples
    --------
    >>> from partition import Link
    >>> link = EmulatedLink.of(Link.parse("4g"))
    >>> with Proxy("127.0.0.1", 8000, link) as proxy:     # doctest: +SKIP
    ...     url = f"http://127.0.0.1:{proxy.port}"
    """

    def __init__(
        self,
        target_host: str,
        target_port: int,
        link: EmulatedLink,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        cold_start: bool = True,
        queue_bytes: int = DEFAULT_QUEUE_BYTES,
    ) -> None:
        if not isinstance(link.clock, RealClock):
            raise InputError("proxy: the link's clock is not a RealClock; sockets cannot live in virtual time")
        if queue_bytes < _LEAST_QUEUE_BYTES:
            raise InputError(f"proxy: a queue of {queue_bytes!r} bytes; give {_LEAST_QUEUE_BYTES} or more")
        self.link = link
        self._clock = link.clock
        self._targets = _resolved(target_host, target_port, "target")
        self._cold_start = cold_start
        self._listener = _bound(host, port)
        self._listener.listen(_BACKLOG)
        self.host: str = self._listener.getsockname()[0]
        self.port: int = self._listener.getsockname()[1]
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = _precise_loop()
        self._bottlenecks = {direction: Bottleneck(link, direction, queue_bytes) for direction in DIRECTIONS}
        self._moving = asyncio.Event()
        self._moving.set()
        self._is_closed = False
        self._listen()
        self._thread = threading.Thread(target=self._run, name="emulated link", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def start_s(self) -> float:
        """The ``time.monotonic()`` of the link's time 0, at which its profiles begin."""
        return self._clock.start_s

    def close(self) -> None:
        """Reset all connections and end; calling it again does nothing."""
        if self._is_closed:
            return
        self._command(self._reset_all)
        self._is_closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_COMMAND_TIMEOUT_S)
        self._listener.close()

    def freeze(self) -> None:
        """Let nothing arrive, in either direction; connections stay open, and new ones wait."""
        self._command(self._freeze)

    def resume(self) -> None:
        """End `freeze` and `drop`: what was under way arrives, and new connections are taken again."""
        self._command(self._resume)

    def drop(self) -> None:
        """Reset all connections and refuse new ones, as when the other host is gone."""
        self._command(self._drop)

    def slow(self, factor: float) -> None:
        """Divide both rates by a factor above 0, for what is not queued yet; 1 ends it."""
        self.link.slow(factor)

    def cut_after(self, size_bytes: int, *, direction: Direction = "uplink") -> None:
        """Reset, once, the connection that carries the last of the next so many bytes of a direction.

        Parameters
        ----------
        size_bytes : int
            1 or more; so many still arrive. All connections count.
        direction : {"uplink", "downlink"}
            Whose bytes count.

        Raises
        ------
        InputError
            Fewer than 1 byte.
        """
        if size_bytes < 1:
            raise InputError(f"proxy: cut_after({size_bytes!r}); give 1 byte or more, or use drop()")

        async def set_limit() -> None:
            self._bottlenecks[direction].cut_after_bytes = size_bytes

        self._command(set_limit)

    def _command(self, command: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """Run a command in the proxy's thread, and return once it is in force."""
        if self._is_closed:
            raise InputError("proxy: it is closed; make a new one")
        return asyncio.run_coroutine_threadsafe(command(), self._loop).result(_COMMAND_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _freeze(self) -> None:
        self._moving.clear()

    async def _resume(self) -> None:
        self._moving.set()
        if not self._is_listening:
            self._listener.listen(_BACKLOG)
            self._listen()

    async def _drop(self) -> None:
        await self._reset_all()
        # Bound without listening: connections are refused, and no one else takes the port.
        self._listener.close()
        self._listener = _bound(self.host, self.port)

    async def _reset_all(self) -> None:
        self._loop.remove_reader(self._listener)
        self._is_listening = False
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> None:
        self._loop.add_reader(self._listener, self._accept)
        self._is_listening = True

    def _accept(self) -> None:
        # In a callback: a task that is cancelled while it accepts would lose the connection.
        try:
            end, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # too many open files: what waits stays ready, so it is left alone for a while
            self._loop.remove_reader(self._listener)
            self._loop.call_later(_RETRY_S, lambda: self._listen() if self._is_listening else None)
            return
        end.setblocking(False)
        task = self._loop.create_task(self._carry(end, self.link.clock.now_s()))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        # Also for a task that was cancelled before it began.
        task.add_done_callback(lambda _: close(end, reset=True))

    async def _carry(self, device_side: socket.socket, accepted_s: float) -> None:
        try:
            server_side = await self._connected()
        except OSError:
            return  # and so reset
        opened_s = accepted_s + (2 * self.link.delay_s if self._cold_start else 0.0)
        for end in (device_side, server_side):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def way(source: socket.socket, target: socket.socket, direction: Direction) -> OneWay:
            bottleneck = self._bottlenecks[direction]
            return OneWay(source, target, bottleneck, self._moving, opened_s=opened_s, slow_start=self._cold_start)

        up, down = way(device_side, server_side, "uplink"), way(server_side, device_side, "downlink")
        await run_both_ways(device_side, server_side, (up, down))

    async def _connected(self) -> socket.socket:
        failure: OSError | None = None
        for family, address in self._targets:
            end = socket.socket(family, socket.SOCK_STREAM)
            try:
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
                await self._loop.sock_connect(end, address)
                return end
            except OSError as error:
                end.close()
                failure = error
            except asyncio.CancelledError:
                end.close()
                raise
        raise failure or OSError("no address")


def _resolved(host: str, port: int, what: str) -> list[tuple[socket.AddressFamily, Any]]:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= _LAST_PORT:
        raise InputError(f"proxy: {what} port {port!r}; give a whole number from 0 to {_LAST_PORT}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"proxy: {what} host {host!r} is not known: {reason}; give a name or an address") from error
    return [(family, address) for family, _, _, _, address in found]


def _bound(host: str, port: int) -> socket.socket:
    family, address = _resolved(host, port, "listening")[0]
    end = socket.socket(family, socket.SOCK_STREAM)
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by what is accepted: otherwise the system takes in megabytes before the link's queue is asked.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        end.bind(address)
        end.setblocking(False)
    except OSError as error:
        end.close()
        raise InputError(
            f"proxy: cannot listen on {host}:{port}: {error.strerror or error}; choose another port, 0 takes a free one"
        ) from error
    return end


def _precise_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose timers are good to a tenth of a millisecond, where the system has epoll."""
    if not hasattr(selectors, "EpollSelector"):
        return asyncio.SelectorEventLoop()

    class PreciseSelector(selectors.EpollSelector):
        """Waits on the epoll object by ``select``, in microseconds: epoll itself counts whole milliseconds."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            number = self.fileno()
            if timeout is None or timeout <= 0 or number >= _MOST_SELECTABLE:
                return super().select(timeout)
            select.select([number], [], [], timeout)
            return super().select(0)

    return asyncio.SelectorEventLoop(PreciseSelector())
