"""Whether a server does not answer because one side speaks TLS and the other does not."""

import ssl
import time
from dataclasses import replace

from partition.remote.errors import Refused, RemoteError
from partition.remote.wire import Connection, Endpoint


def check_scheme(endpoint: Endpoint, *, timeout_s: float) -> None:
    """Make sure that the URL's scheme is not the reason why a server does not answer.

    It is asked in the other way, without the token, and once more in ours. What cannot be told for sure passes.

    Parameters
    ----------
    endpoint : Endpoint
    timeout_s : float
        For each way.

    Raises
    ------
    Refused
        It answers in the other way, and in ours not at all.
    """
    if endpoint.tls is None:
        if _speaks_tls(endpoint, timeout_s) and not _speaks_plainly(endpoint, timeout_s):
            raise Refused(f"server {endpoint} speaks TLS; give its URL with https://")
    elif _speaks_plainly(endpoint, timeout_s) and not _speaks_tls(endpoint, timeout_s):
        raise Refused(f"server {endpoint} speaks HTTP without TLS; give its URL with http://, or serve it with TLS")


def _speaks_tls(endpoint: Endpoint, timeout_s: float) -> bool:
    deadline_s = time.perf_counter() + timeout_s
    # Only a handshake, by which nothing is told: who it is does not matter here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with Connection(replace(endpoint, tls=context, token=None), deadline_s=deadline_s):
            return True
    except RemoteError:
        return False


def _speaks_plainly(endpoint: Endpoint, timeout_s: float) -> bool:
    deadline_s = time.perf_counter() + timeout_s
    plain = replace(endpoint, tls=None, token=None)
    try:
        with Connection(plain, deadline_s=deadline_s) as connection:
            reply = connection.exchange("GET", "/v2/health/live", deadline_s=deadline_s)
            # Servers that want TLS tell so with 400, in plain HTTP.
            return reply.status != 400
    except RemoteError:
        return False
