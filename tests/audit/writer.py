"""A process that commits units of audit rows: ``python -m tests.audit.writer NAME UNITS ROWS``. Prints how many it committed."""

import sys

import django


def main(name: str, units: int, rows: int) -> None:
    """Commit ``units`` units of ``rows`` paper rows; in each, a live row and an operator's act; every third is rolled back."""
    django.setup()
    from audit.log import record, unit
    from tests.audit.factories import operator_event, order_event

    committed = 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for number in range(units):
        try:
            with unit():
                for row in range(rows):
                    record(order_event(client_order_id=f"{name}-{number}-{row}"))
                record(order_event(client_order_id=f"{name}-{number}-live", is_live=True))
                record(operator_event(object=f"{name}-{number}"))
                if number % 3 == 2:
                    raise KeyError(name)
        except KeyError:
            continue
        committed += 1
    sys.stdout.write(f"{committed}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
