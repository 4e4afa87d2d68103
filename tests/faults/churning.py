"""A tick in which every bot trades, for real workers, and what makes such bots: ``python -m tests.faults.churning make 2``.

``release`` releases everything, as a person does.
"""

import sys
from decimal import Decimal


def main() -> None:
    """Do what the arguments say."""
    import django

    django.setup()
    register()
    if sys.argv[1] == "release":
        from safety.kill_switch import release

        release("over", actor="test")
        return
    from bots import manager

    for number in range(int(sys.argv[2])):
        new = manager.NewBot(f"churn {number}", "replay", "BTC-PERP", "fault_churn", Decimal(1000), {}, poll_seconds=1)
        manager.start(manager.create(new, actor="test").pk, actor="test")


def register() -> None:
    """Make the strategy known to this process."""
    from bots.strategies import registry
    from tests.faults.churn import Churn, Restless

    for one in (Churn(), Restless()):
        if one.key not in registry._strategies:
            registry.register(one)


if __name__ == "__main__":
    main()
else:
    register()
    from bots.tick import tick_batch as tick_batch
