"""A process that asks the venue many times over, as a worker does: run by test_signer.py."""

import sys
import time

import django


def main(count: int) -> None:
    """Ask for the key's rights so often; print one line per answer, and wait a moment after each."""
    django.setup()
    from bots.brokers.factory import broker_for
    from tests.loopback import limits

    limits.widen()
    broker = broker_for("kraken", is_live=True)
    for _ in range(count):
        rights = broker.key_rights()
        while "got no turn" in rights.reason:
            # Nothing was sent: on a busy machine a turn may take longer to come than a question waits.
            rights = broker.key_rights()
        sys.stdout.write(("ok" if rights.is_known else rights.reason) + "\n")
        sys.stdout.flush()
        time.sleep(0.001)


if __name__ == "__main__":
    main(int(sys.argv[1]))
