"""A link and a slow device on one machine: rates over time, a link in process, a TCP proxy, a device that waits.

For tests, for benchmarks, and for whoever has no second machine. Standard library only.
"""
