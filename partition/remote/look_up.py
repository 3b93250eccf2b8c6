"""The addresses of a host in time: the system's own look-up takes as long as it likes."""

import socket
import threading
from concurrent.futures import Future
from typing import Any

Address = tuple[Any, ...]
"""Family, kind, protocol, name and address, as `socket.getaddrinfo` gives them."""

_lock = threading.Lock()
_under_way: dict[tuple[str, int], "Future[list[Address]]"] = {}


def addresses(host: str, port: int, *, timeout_s: float) -> list[Address]:
    """Return where a host listens.

    Parameters
    ----------
    host, port : str, int
    timeout_s : float
        A look-up that takes longer goes on by itself; who asks next waits for the same one.

    Raises
    ------
    TimeoutError
    OSError
        There is no such host.
    """
    try:
        return list(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST))
    except (OSError, UnicodeError):
        pass  # a name
    key = host, port
    with _lock:
        asked = _under_way.get(key)
        if asked is None:
            asked = Future()
            try:
                threading.Thread(target=_look_up, args=(key, asked), name="look-up", daemon=True).start()
            except RuntimeError as error:
                raise OSError(f"'{host}' cannot be looked up: {error}") from error
            _under_way[key] = asked
    return asked.result(timeout=timeout_s)


def _look_up(key: tuple[str, int], asked: "Future[list[Address]]") -> None:
    host, port = key
    try:
        found: list[Address] = list(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
    except UnicodeError as error:
        _ended(key)
        asked.set_exception(OSError(f"'{host}' is no name of a host: {error}"))
    except BaseException as error:
        _ended(key)
        asked.set_exception(error)
    else:
        _ended(key)
        asked.set_result(found)


def _ended(key: tuple[str, int]) -> None:
    with _lock:
        _under_way.pop(key, None)
