"""Venues on this machine: servers with a ledger of their own, a request log, and faults that can be ordered.

Start one alone with ``python -m tests.loopback.kraken --port 8400``; tests use the fixtures in ``fixtures.py``.
"""
