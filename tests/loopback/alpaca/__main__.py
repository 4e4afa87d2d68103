"""Start the loopback Alpaca alone: ``python -m tests.loopback.alpaca --port 8500``. Ctrl-C ends it."""

import argparse
import signal
import sys

from tests.loopback.alpaca import start_alpaca
from tests.loopback.client import AlpacaLoopback


def main() -> None:
    """Serve until a signal comes; say first, as lines for a shell, how to point a console here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the first of three ports; 0 takes any that are free")
    port = parser.parse_args().port
    ends = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the first thread starts, so that no thread but this one is interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with start_alpaca(*((port, port + 1, port + 2) if port else (0, 0, 0))) as servers:
        venue = AlpacaLoopback(servers.live.url, servers.paper.url, servers.data.url)
        for name, value in venue.environ().items():
            sys.stdout.write(f"{name}={value}\n")
        sys.stdout.flush()
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
