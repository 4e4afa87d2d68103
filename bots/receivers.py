"""What bots do when the kill switch is engaged, waited for or released. What is needed for it is imported when it happens."""

import time
from typing import Any

from django.dispatch import receiver

from safety.models import KillRun
from safety.signals import kill_run_unfinished, kill_switch_engaged, kill_switch_released

#: How long whoever engages stays to cancel paper orders; what is left then is for whoever waits, and for the workers.
AT_ONCE_S = 1.0


@receiver(kill_switch_engaged, dispatch_uid="bots.clean_up")
def clean_up_at_once(run: KillRun, **_: Any) -> None:
    """Cancel the paper orders that rest, and see who is still sending. No venue is asked here."""
    if run.pk is not None:
        _work(run, time.monotonic() + AT_ONCE_S, network=False)


@receiver(kill_run_unfinished, dispatch_uid="bots.clean_up")
def clean_up_further(run: KillRun, until_s: float, **_: Any) -> None:
    """Go on with a run on behalf of somebody who waits for it."""
    _work(run, until_s, network=True)


def _work(run: KillRun, until_s: float, *, network: bool) -> None:
    from bots import clean_up, flatten
    from bots.apart import apart

    with apart(f"kill run {run.pk}: its flatten is left to the workers"):
        flatten.work_on(run, until_s=until_s, network=network)
    clean_up.work_on(run, until_s=until_s, network=network)


@receiver(kill_switch_released, dispatch_uid="bots.entries_held")
def hold_entries(scope: str, reason: str, actor: str, **_: Any) -> None:
    """Within the release's transaction: hold the entries of every live bot, and set new baselines."""
    from bots import after_release

    after_release.settle(scope, reason=reason, actor=actor)
