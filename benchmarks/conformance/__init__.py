"""Our server, our client and our exports against Triton's own client and server; see docs/triton.md.

``python -m benchmarks.conformance`` runs it. It is no part of ``python -m benchmarks``, since it installs both of them
into environments of their own.
"""
