"""A server of saved parts that speaks the Open Inference Protocol over HTTP; needs what running a plan needs, no more.

Examples
--------
>>> from partition.serve import Server                             # doctest: +SKIP
>>> with Server(["out/"], port=8000) as server:                    # doctest: +SKIP
...     print(server.url)
"""

from partition.serve.limits import Limits
from partition.serve.server import Server

__all__ = ["Limits", "Server"]
