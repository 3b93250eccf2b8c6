"""A circuit breaker: after a fault no request goes to the server until a probe in the background has come back."""

import logging
import threading
import time
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0
# So many answers in a row, and the server counts as recovered for good.
_ANSWERS_TO_TRUST = 3


class Breaker:
    """Keeps requests from a server that failed, and finds out by itself when it is back.

    Parameters
    ----------
    probe : callable
        Asks the server for something; raises an exception of `faults` if it does not answer as it should.
    faults : tuple of exception types

    Notes
    -----
    The wait before a probe doubles from 0.1 s to 2 s, also over several failures with few answers in between: a server
    that passes probes and fails requests is asked less and less often.
    """

    def __init__(self, probe: Callable[[], object], faults: tuple[type[Exception], ...]) -> None:
        self._probe = probe
        self._faults = faults
        self._lock = threading.Lock()
        self._wait_s = _FIRST_WAIT_S
        self._answers = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.open_since_s: float | None = None
        """When it opened, by `time.perf_counter`; None while requests may pass."""
        self.reason = ""
        """Why it is open, as the last fault or probe told; empty while requests may pass."""

    @property
    def passes(self) -> bool:
        """Whether requests may go to the server."""
        return self.open_since_s is None

    def answered(self) -> None:
        """Take note that a request was answered."""
        with self._lock:
            self._answers += 1
            if self._answers >= _ANSWERS_TO_TRUST:
                self._wait_s = _FIRST_WAIT_S

    def failed(self, reason: str = "", *, wait_s: float | None = None) -> None:
        """Open for a reason, and begin to probe; after `wait_s` if the server said when it wants to be asked again."""
        with self._lock:
            self._answers = 0
            if self.open_since_s is not None or self._stop.is_set():
                return
            first_s = self._wait_s if wait_s is None else max(0.0, min(wait_s, 10 * _LONGEST_WAIT_S))
            thread = threading.Thread(target=self._recover, args=(first_s,), name="recovery", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # Open without a probe, it would stay so for good; the next fault tries again.
                _LOG.exception("no thread to probe the server in, so requests go on to it")
                return
            self._thread = thread
            self._wait_s = min(_LONGEST_WAIT_S, 2 * self._wait_s)
            self.reason = reason
            self.open_since_s = time.perf_counter()

    def close(self) -> None:
        """Stop probing."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2 * _LONGEST_WAIT_S)

    def _recover(self, wait_s: float) -> None:
        while not self._stop.wait(wait_s):
            try:
                self._probe()
            except Exception as error:  # whatever it is, the next probe may pass
                if not isinstance(error, self._faults):
                    _LOG.exception("a probe of the server failed in a way that it should not")
                with self._lock:
                    self.reason = str(error)
                wait_s = min(_LONGEST_WAIT_S, 2 * max(wait_s, _FIRST_WAIT_S))
                continue
            with self._lock:
                self.open_since_s, self.reason = None, ""
            return
