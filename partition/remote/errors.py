"""Why a request to a server came to nothing, by what can be done about it."""


class RemoteError(RuntimeError):
    """A server did not answer as it should. The message says which server and what to do."""


class Unreachable(RemoteError):
    """No connection, a lost one, or no answer in time: the server may never have seen the request."""


class TimedOut(Unreachable):
    """No answer in time."""


class Busy(RemoteError):
    """The server has too much to do (503, 429).

    Attributes
    ----------
    retry_after_s : float or None
        When the server wants to be asked again, if it says so.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BadAnswer(RemoteError):
    """The server broke: it sent what is no answer, or says that it failed inside (5xx)."""


class Refused(RemoteError):
    """The server will not take such a request, now or later (4xx): wrong token, wrong model, wrong tensors.

    Nor will one that we do not talk to: its certificate is not trusted, or one side speaks TLS and the other does not.
    """
