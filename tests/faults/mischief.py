"""What goes wrong during the soak: a thread that orders faults at two loopback venues, moves their markets, fills and cancels."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

from tests.faults.venues import AlpacaSide, KrakenSide
from tests.loopback import faults
from tests.loopback.client import AlpacaLoopback
from tests.loopback.faults import Fault

COINS = ("BTC/USD", "ETH/USD", "SOL/USD")
SHARES = ("AAPL", "MSFT", "SPY")
#: The venue answers nothing for so long, which is longer than anybody waits.
HANG_S = 6.0
KRAKEN_ASKED = ("CancelOrder", "QueryOrders", "OpenOrders", "ClosedOrders", "TradesHistory", "BalanceEx")
ALPACA_ASKED = ("DELETE /v2/orders/{id}", "GET /v2/orders/{id}", "GET /v2/orders", "GET /v2/orders:by_client_order_id")
ANYWHERE: tuple[Callable[[str], Fault], ...] = (
    lambda path: faults.answer_lost(path, hang_s=HANG_S),
    lambda path: faults.request_lost(path, hang_s=HANG_S),
    faults.reset,
    faults.page,
    faults.half,
    lambda path: faults.http_status(path, 503),
    lambda path: faults.http_status(path, 500, is_carried_out=False),
    lambda path: faults.arrives_late(path, 2.0),
    lambda path: faults.invisible(path, 8.0),
)
REFUSALS = {
    "kraken": ("EAPI:Invalid nonce", "EOrder:Insufficient funds", "EService:Busy"),
    "alpaca": ("403 40310000 insufficient buying power", "500 internal server error"),
}


class Mischief:
    """Does one thing after the other until it is told to stop."""

    def __init__(self, kraken: KrakenSide, alpaca: AlpacaSide, market: AlpacaLoopback, seed: int) -> None:
        self._kraken, self._alpaca, self._market = kraken, alpaca, market
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="mischief", daemon=True)
        #: How often each thing was done.
        self.done: Counter[str] = Counter()

    def __enter__(self) -> "Mischief":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop, and take back what has not come yet."""
        self._stop.set()
        self._thread.join(30)
        for side in (self._kraken, self._alpaca):
            side.loopback.clear_faults()

    def _go_on(self) -> None:
        acts = (self._fault, self._fault, self._fault, self._move, self._move, self._fill, self._cancel)
        while not self._stop.wait(self._chance.uniform(0.2, 1.2)):
            act = self._chance.choice(acts)
            # An order may end between being looked at and being filled or cancelled.
            with suppress(ValueError):
                act(self._chance.choice((self._kraken, self._alpaca)))
                self.done[act.__name__.lstrip("_")] += 1

    def _fault(self, side: KrakenSide | AlpacaSide) -> None:
        asked = KRAKEN_ASKED if side is self._kraken else ALPACA_ASKED
        path = side.add if self._chance.random() < 0.5 else self._chance.choice(asked)
        if path == side.add and self._chance.random() < 0.2:
            side.loopback.fault(faults.venue_error(path, self._chance.choice(REFUSALS[side.name])))
        else:
            side.loopback.fault(self._chance.choice(ANYWHERE)(path))

    def _move(self, side: KrakenSide | AlpacaSide) -> None:
        middle = Decimal(self._chance.randrange(985, 1016)).scaleb(-1)
        bid, ask = str(middle - Decimal("0.1")), str(middle + Decimal("0.1"))
        if side is self._kraken:
            self._kraken.loopback.set_price(bid, ask, symbol=self._chance.choice(COINS))
        else:
            self._market.set_price(bid, ask, symbol=self._chance.choice(SHARES))

    def _fill(self, side: KrakenSide | AlpacaSide) -> None:
        resting = [one for one in side.orders() if one.is_open]
        if resting:
            one = self._chance.choice(resting)
            side.fill(one.id, str(((one.quantity - one.filled_quantity) / 2).quantize(Decimal("0.0001"))))

    def _cancel(self, side: KrakenSide | AlpacaSide) -> None:
        resting = [one for one in side.orders() if one.is_open]
        if resting:
            side.end(self._chance.choice(resting).id)
