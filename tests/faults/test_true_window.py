"""The window of NOT_SENT in true time, with one worker's chores at their own pace. By hand: FAULTS_TRUE_WINDOW=1.

FAULTS.md rows 5 and 15. The other tests let the time pass in the database; here nothing is hurried, Kraken's rate limit neither.
"""

import os
import sys

import pytest

from tests.faults.desk import RECONCILE, SWEEP, Desk
from tests.loopback import faults

pytestmark = [
    pytest.mark.slow,
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
    pytest.mark.skipif(not os.environ.get("FAULTS_TRUE_WINDOW"), reason="takes minutes: FAULTS_TRUE_WINDOW=1"),
    pytest.mark.timeout(400),
]


@pytest.mark.fault(15)
@pytest.mark.parametrize("traded", [False, True], ids=["nothing traded", "traded just before"])
def test_order_that_never_arrived_is_not_sent_within_two_minutes(kraken_desk: Desk, traded: bool) -> None:
    desk, intent = kraken_desk, kraken_desk.intent(quantity="0.31")
    if traded:
        assert desk.send(desk.intent()) == 0
    desk.venue.loopback.fault(faults.request_lost(desk.venue.add))
    assert desk.send(intent) == 0
    assert desk.chores(SWEEP, RECONCILE, rounds=60, every_s=2) == 0
    found = desk.order(intent)
    assert found.status == "not_sent", f"{found.status} after two minutes, {found.empty_look_ups} whole look-ups"
    desk.check(intent, struck="AddOrder never arrived; true time")
