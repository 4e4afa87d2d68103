"""What a person does on the page, and what is said back: one function per button."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

from tests.loopback.rehearsal import exercises
from tests.loopback.rehearsal.books import TITLES, OrderRow, orders
from tests.loopback.rehearsal.drift import KRAKEN_SYMBOLS, Drift
from tests.loopback.rehearsal.exercises import VENUES
from tests.loopback.rehearsal.venues import Venues

Form = Mapping[str, str]
PERCENTS = ("-5", "-1", "1", "5")
HALF = Decimal("0.5")
KRAKEN_STEP, SHARE_STEP = Decimal("1e-8"), Decimal("1e-9")


class ActError(Exception):
    """What was asked for can't be done; the message is for the page."""


class Acts:
    """Carries out what the page's forms ask for."""

    def __init__(self, venues: Venues, drift: Drift) -> None:
        self._venues, self._drift = venues, drift
        self._acts: dict[str, Callable[[Form], str]] = {
            "price": self._price,
            "depth": self._depth,
            "place": self._place,
            "fill": self._fill,
            "cancel": self._cancel,
            "money": self._money,
            "strike": self._strike,
            "clear": lambda form: self._clear(),
            "discord": lambda form: self._forget_messages(),
        }

    def do(self, name: str, form: Form) -> str:
        """Do it, and return what to tell the person. Raises ActError."""
        if name not in self._acts:
            raise ActError("There is no such button.")
        try:
            return self._acts[name](form)
        except (LookupError, ValueError) as error:
            raise ActError(f"The venue says no: {error}") from error

    def _price(self, form: Form) -> str:
        name = form["symbol"]
        bid, ask = self._drift.prices(name)
        if form.get("percent"):
            middle = (bid + ask) / 2 or self._drift.symbols[name].home
            middle *= 1 + _number(form, "percent") / 100
        else:
            middle = _number(form, "price")
        if middle <= 0:
            raise ActError("A price above zero is needed.")
        self._drift.put(name, middle)
        bid, ask = self._drift.prices(name)
        return f"{name} is now at {bid} / {ask}, and goes on from there."

    def _depth(self, form: Form) -> str:
        depth = form.get("depth", "").strip()
        exercises.set_depths(self._venues, depth or None)
        if not depth:
            return "Every book has all that a taker wants."
        return f"Each order finds only {depth} in the book: what is left of it rests, or is cancelled."

    def _place(self, form: Form) -> str:
        venue, symbol, side, price = form["venue"], form["symbol"], form["side"], form.get("price", "").strip()
        quantity = f"{_number(form, 'quantity'):f}"
        kind = {"ordertype": "limit", "price": price} if price else {"ordertype": "market"}
        if venue == "kraken":
            pair = KRAKEN_SYMBOLS[symbol][0]
            server = self._venues.kraken
            id_ = server.control("place", {"pair": pair, "type": side, "volume": quantity, **kind})
        else:
            shape = {"type": "limit", "limit_price": price} if price else {"type": "market"}
            body = {"symbol": symbol, "side": side, "qty": quantity, "time_in_force": "day", **shape}
            id_ = self._venues.servers[_account(venue)].control("place", {"body": json.dumps(body)})
        return f"Placed by hand at {TITLES[venue]}: {side} {quantity} {symbol}, {id_}. The console has to find it by itself."

    def _fill(self, form: Form) -> str:
        venue, order = form["venue"], self._order(form)
        step = KRAKEN_STEP if venue == "kraken" else SHARE_STEP
        wanted = order.left if form.get("part") == "all" else (order.left * HALF).quantize(step)
        name = "volume" if venue == "kraken" else "qty"
        self._venues.servers[_account(venue)].control("fill", {"order_id": order.id, name: f"{wanted:f}"})
        return f"{wanted} {order.symbol} of {order.client_order_id} were filled at the venue."

    def _cancel(self, form: Form) -> str:
        order = self._order(form)
        self._venues.servers[_account(form["venue"])].control("cancel", {"order_id": order.id})
        return f"{order.client_order_id} was cancelled at the venue, not by the console."

    def _money(self, form: Form) -> str:
        venue, amount = form["venue"], _number(form, "amount")
        if venue == "kraken":
            way = "deposit" if amount > 0 else "withdraw"
            self._venues.kraken.control(way, {"asset": "ZUSD", "amount": f"{abs(amount):f}"})
        else:
            kind = "CSD" if amount > 0 else "CSW"
            self._venues.servers[_account(venue)].control("activity", {"type": kind, "net_amount": f"{amount:f}"})
        return f"{abs(amount)} USD were {'deposited' if amount > 0 else 'withdrawn'} at {TITLES[venue]}."

    def _strike(self, form: Form) -> str:
        exercise, venue = exercises.BY_ID[form["exercise"]], form["venue"]
        if venue not in exercise.venues:
            raise ActError("That does not happen at this venue.")
        exercise.strike(self._venues, self._drift, venue)
        return f"{TITLES[venue]}: {exercise.title.lower()}. {exercise.says}"

    def _clear(self) -> str:
        exercises.clear(self._venues)
        return "A good day again: no fault is waiting, keys hold, markets are open, books are deep."

    def _forget_messages(self) -> str:
        self._venues.discord_venue().messages.clear()
        return "Discord's messages are cleared."

    def _order(self, form: Form) -> OrderRow:
        found = next((one for one in orders(self._venues, _account(form["venue"])) if one.id == form["order"]), None)
        if found is None:
            raise ActError("That order is not there any more.")
        return found


def _account(venue: str) -> str:
    if venue not in VENUES:
        raise ActError("There is no such account.")
    return venue


def _number(form: Form, name: str) -> Decimal:
    """Return a figure of the form. Raises ActError."""
    try:
        found = Decimal(form.get(name, "").strip())
    except InvalidOperation:
        raise ActError(f"A number is needed for {name}.") from None
    if not found.is_finite() or not found:
        raise ActError(f"A number other than zero is needed for {name}.")
    return found
