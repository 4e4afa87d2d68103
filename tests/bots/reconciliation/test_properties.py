"""Random histories of own trades, others' trades, transfers, delays, repeats: nothing false is found, nothing real is missed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bots.brokers.base import Execution, ListedFill, ListedOrder, Transfer, TransferKind
from bots.order_states import OrderStatus
from bots.reconciliation.balances import (
    CONFIRM_AFTER,
    Doubt,
    Movement,
    Verdict,
    confirm,
    judge,
    moved,
    movement_of_transfer,
    movements_of_fill,
    settled,
    standings,
)
from bots.reconciliation.compare import FillFacts, OwnOrder, judge_orders, sort_fills
from bots.reconciliation.settling import shares
from safety.intents import Side

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
LATER = START + timedelta(days=1)
ZERO = Decimal(0)
quantities = st.decimals("0.00000001", "5", places=8)
prices = st.decimals("0.1", "90000", places=1)
fees = st.decimals("0", "3", places=5)


@dataclass(frozen=True)
class Traded:
    """One trade of ours or of somebody else."""

    is_ours: bool
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal


@dataclass
class World:
    """A venue with its ledger, and our books of what of it was ours."""

    venue: dict[str, Decimal] = field(default_factory=lambda: {"BTC": Decimal(7), "USD": Decimal(1000)})
    held: Decimal = ZERO
    flows: Decimal = ZERO
    fills: list[ListedFill] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    own: dict[str, OwnOrder] = field(default_factory=dict)

    def trade(self, one: Traded) -> None:
        number, sign = len(self.fills), 1 if one.side == Side.BUY else -1
        done = Execution(f"T{number}", one.quantity, one.price, one.fee, False, START + timedelta(minutes=number))
        fill = ListedFill(f"O{number}", "BTC/USD", "BTC", "USD", one.side, done)
        self.fills.append(fill)
        self.venue["BTC"] += sign * one.quantity
        self.venue["USD"] -= sign * one.quantity * one.price + one.fee
        if one.is_ours:
            self.held += sign * one.quantity
            self.flows -= sign * one.quantity * one.price + one.fee
            self.own[fill.venue_order_id] = own_order(number, fill)

    def move(self, asset: str, quantity: Decimal) -> None:
        kind = TransferKind.DEPOSIT if quantity > 0 else TransferKind.WITHDRAWAL
        self.transfers.append(Transfer(f"L{len(self.transfers)}", kind, asset, quantity, START))
        self.venue[asset] += quantity


def own_order(number: int, fill: ListedFill) -> OwnOrder:
    quantity = fill.execution.quantity
    return OwnOrder(
        number, f"t{number}", fill.venue_order_id, fill.symbol, fill.side, quantity, quantity, OrderStatus.FILLED, START,
        START,
    )  # fmt: skip


trades = st.builds(Traded, st.booleans(), st.sampled_from(Side), quantities, prices, fees)
transfers = st.tuples(st.sampled_from(["BTC", "USD"]), st.decimals("-3", "3", places=8).filter(bool))
histories = st.lists(st.one_of(trades, transfers), max_size=12)


def world_of(history: Sequence[Traded | tuple[str, Decimal]]) -> World:
    world = World()
    for one in history:
        if isinstance(one, Traded):
            if one.is_ours and one.side == Side.SELL and world.held < one.quantity:
                continue
            if one.side == Side.SELL and world.venue["BTC"] < one.quantity:
                continue
            world.trade(one)
        # A venue lends no coins: nobody sells or withdraws more of them than the account has.
        elif one[0] != "BTC" or world.venue["BTC"] + one[1] >= 0:
            world.move(*one)
    return world


def sorted_movements(world: World, fills: Sequence[ListedFill], transfers_: Sequence[Transfer]) -> list[Movement]:
    """Say what moved the owner's part, when all of our own fills are booked."""
    facts = FillFacts(
        booked={one.execution.trade_id for one in world.fills if one.venue_order_id in world.own},
        own=world.own,
        strangers={one.venue_order_id for one in world.fills if one.venue_order_id not in world.own},
        counted=(),
        undecided=(),
        now=LATER,
    )
    found = sort_fills(fills, facts)
    assert found.look_up == ()
    return [
        *(moved_ for fill in found.external for moved_ in movements_of_fill(fill)),
        *(movement_of_transfer(one) for one in transfers_),
    ]


def verdicts(world: World, baselines: dict[str, Decimal]) -> dict[str, tuple[Verdict, Decimal]]:
    both = standings(world.venue, baselines, {"BTC": world.held}, {"USD": world.flows})
    return {
        asset: (judge(one, tolerated=ZERO, is_moving=False, is_ours=True), one.delta) for asset, one in both.items()
    }


FIRST = {"BTC": Decimal(7), "USD": Decimal(1000)}


@settings(max_examples=60, deadline=None)
@given(histories, st.data())
def test_no_false_difference_whatever_the_order_and_however_often_it_is_told(
    history: list[Traded | tuple[str, Decimal]], data: st.DataObject
) -> None:
    world = world_of(history)
    baselines, counted = dict(FIRST), frozenset[tuple[str, str]]()
    # Told in portions, mixed, some of it twice; at the end everything once more.
    for _ in range(3):
        some = data.draw(st.lists(st.sampled_from(world.fills), max_size=20)) if world.fills else []
        others = data.draw(st.lists(st.sampled_from(world.transfers), max_size=20)) if world.transfers else []
        baselines, counted = moved(baselines, sorted_movements(world, some, others), counted)
    everything = sorted_movements(
        world, data.draw(st.permutations(world.fills)), data.draw(st.permutations(world.transfers))
    )
    baselines, counted = moved(baselines, everything, counted)
    for asset, (verdict, delta) in verdicts(world, baselines).items():
        assert delta == 0, asset
        assert verdict == (Verdict.SHORTAGE if asset == "BTC" and world.venue["BTC"] < world.held else Verdict.AGREES)
    assert moved(baselines, everything, counted) == (baselines, counted)


@settings(max_examples=60, deadline=None)
@given(histories, st.sampled_from(["BTC", "USD"]), st.decimals("-2", "2", places=8).filter(bool))
def test_whatever_is_missing_or_too_much_is_found_exactly(
    history: list[Traded | tuple[str, Decimal]], asset: str, gone: Decimal
) -> None:
    world = world_of(history)
    baselines, _ = moved(FIRST, sorted_movements(world, world.fills, world.transfers), ())
    world.venue[asset] += gone
    found = verdicts(world, baselines)
    verdict, delta = found[asset]
    assert delta == gone
    assert verdict in (Verdict.SHORTAGE, Verdict.SURPLUS)
    assert (verdict == Verdict.SHORTAGE) >= (gone < 0)
    others = [one for name, (one, _) in found.items() if name != asset]
    assert Verdict.SURPLUS not in others


@settings(max_examples=60, deadline=None)
@given(histories, st.decimals("0", "9", places=8))
def test_settled_figures_agree_and_no_book_holds_more_than_is_there(
    history: list[Traded | tuple[str, Decimal]], there: Decimal
) -> None:
    world = world_of(history)
    world.venue["BTC"] = there
    before = standings(world.venue, FIRST, {"BTC": world.held}, {"USD": world.flows})["BTC"]
    after = settled(before)
    assert (after.delta, after.missing) == (0, 0)
    assert after.held == min(before.held, there)
    assert judge(after, tolerated=ZERO, is_moving=False, is_ours=True) == Verdict.AGREES


@settings(max_examples=60, deadline=None)
@given(st.lists(st.decimals("0.00000001", "9", places=8), min_size=1, max_size=6), st.data())
def test_shares_are_exact_and_never_more_than_is_held(held: list[Decimal], data: st.DataObject) -> None:
    cut = data.draw(st.decimals("0", sum(held, ZERO), places=8))
    found = shares(held, cut)
    assert sum(found, ZERO) == cut
    assert all(0 <= share <= one for share, one in zip(found, held, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["0", "-0.1", "0.2"])), min_size=1, max_size=12))
def test_only_what_was_found_twice_and_long_enough_ago_is_confirmed(rounds: list[tuple[int, str]]) -> None:
    doubts: dict[str, Doubt] = {}
    now, since, last = START, START, ""
    for seconds, delta in rounds:
        now += timedelta(seconds=seconds)
        if delta != last:
            since, last = now, delta
        both = standings({"BTC": Decimal(delta)}, {}, {}, {})
        off = [one for one in both.values() if one.delta]
        doubts, confirmed = confirm(doubts, off, now)
        assert bool(confirmed) == (delta != "0" and now - since >= CONFIRM_AFTER)
        assert bool(doubts) == (delta != "0")


def listed(order: OwnOrder, filled: Decimal, *, is_open: bool, venue_order_id: str = "") -> ListedOrder:
    status = OrderStatus.ACCEPTED if is_open else OrderStatus.FILLED
    return ListedOrder(
        venue_order_id or order.venue_order_id, order.client_order_id, order.symbol, Side(order.side), "limit",
        order.quantity, filled, Decimal(100), status, order.created_at, None if is_open else LATER,
    )  # fmt: skip


def own_with(id_: int, there: str, filled: Decimal, status: OrderStatus) -> OwnOrder:
    """Return an order of ours; ``there`` is the first letter of the venue's id for it, if it is known."""
    venue_order_id = there and f"{there}{id_}"
    return OwnOrder(
        id_, f"t{id_}", venue_order_id, "BTC/USD", "buy", Decimal(1), filled, status, START, START
    )  # fmt: skip


own_orders = st.builds(
    own_with,
    st.integers(1, 5),
    st.sampled_from(["", "V", "O"]),
    st.sampled_from([ZERO, Decimal("0.5")]),
    st.sampled_from(OrderStatus),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(own_orders, max_size=4, unique_by=lambda one: one.id), st.data())
def test_findings_about_orders_do_not_depend_on_the_order_of_the_list(own: list[OwnOrder], data: st.DataObject) -> None:
    each = [
        listed(one, filled, is_open=is_open, venue_order_id=f"V{one.id}")
        for one in own
        for filled, is_open in [(Decimal("0.5"), data.draw(st.booleans()))]
    ]
    mixed = data.draw(st.permutations([*each, *each]))
    once = judge_orders(each, own, strangers_known=(), now=LATER)
    assert judge_orders(mixed, own, strangers_known=(), now=LATER) == once
    looked_up = {one.id for one, _ in once.look_up}
    conflicting = {one.own.id for one in once.conflicts}
    assert not looked_up & conflicting
    for one in own:
        if one.id in looked_up:
            assert one.venue_order_id in ("", f"V{one.id}")
            assert one.status not in (OrderStatus.DENIED, OrderStatus.REJECTED, OrderStatus.SUBMITTING)
