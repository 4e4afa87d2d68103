"""Start the loopback Kraken alone: ``python -m tests.loopback.kraken --port 8400``. Ctrl-C ends it."""

import argparse
import signal
import sys

from tests.loopback.client import KrakenLoopback
from tests.loopback.kraken import start_kraken


def main() -> None:
    """Serve until a signal comes; say first, as lines for a shell, how to point a console here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    port = parser.parse_args().port
    ends = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the first thread starts, so that no thread but this one is interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with start_kraken(port) as server:
        for name, value in KrakenLoopback(server.url).environ().items():
            sys.stdout.write(f"{name}={value}\n")
        sys.stdout.flush()
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
