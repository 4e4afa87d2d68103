"""Our side of an account: orders, books and what moved the baselines, read for one round."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext

from django.db.models import Q, QuerySet

from bots.books import EXACT
from bots.brokers.base import ListedOrder
from bots.models import Account, AccountMovement, AssetBaseline, Bot, BotStatus, Fill, Order, PaperBroker, Position
from bots.order_states import OPEN_STATES, RESTING_STATES, OrderStatus
from bots.reconciliation.balances import MONEY, ZERO
from bots.reconciliation.compare import OwnOrder, assets_of


@dataclass(frozen=True, slots=True)
class Books:
    """What the books of an account's bots say, by asset: ``held`` by positions, ``flows`` of money, fees included.

    ``ours`` are the assets that a bot trades in or with, or holds. ``in_flight`` are symbols with an order whose outcome nobody
    knows yet.
    """

    held: dict[str, Decimal]
    flows: dict[str, Decimal]
    ours: frozenset[str]
    in_flight: frozenset[str]

    def moved_since(self, before: "Books") -> frozenset[str]:
        """Return the assets of which these books say something else than ``before``, or of which something is under way."""
        moving = {asset for symbol in self.in_flight | before.in_flight for asset in assets_of(symbol)}
        for now, then in ((self.held, before.held), (self.flows, before.flows)):
            moving |= {asset for asset in now.keys() | then.keys() if now.get(asset, ZERO) != then.get(asset, ZERO)}
        return frozenset(moving)


def positions_of(account: Account) -> QuerySet[Position]:
    """Return the positions of the account's book, flat ones too."""
    rows = Position.objects.filter(bot__venue=account.venue, is_live=account.is_live)
    return rows if account.is_live else rows.filter(bot__paper_broker=PaperBroker.VENUE)


def orders_of(account: Account) -> QuerySet[Order]:
    """Return our own orders that went, or may have gone, to this account's venue."""
    return Order.objects.filter(
        venue=account.venue, is_live=account.is_live, bot__isnull=False, deadline_at__isnull=False
    )


def externals_of(account: Account) -> QuerySet[Order]:
    """Return the orders that others placed on this account."""
    return Order.objects.filter(venue=account.venue, is_live=account.is_live, status=OrderStatus.EXTERNAL)


def read_books(account: Account) -> Books:
    """Return what the account's books say now."""
    held: dict[str, Decimal] = {}
    flows: dict[str, Decimal] = {}
    symbols = set(_traded(account))
    with localcontext(EXACT):
        for symbol, quantity, cash in positions_of(account).values_list("bot__symbol", "quantity", "cash_flow"):
            base, quote = assets_of(symbol)
            held[base] = held.get(base, ZERO) + quantity
            flows[quote] = flows.get(quote, ZERO) + cash
            if quantity:
                symbols.add(symbol)
    open_ = orders_of(account).filter(status__in=sorted(OPEN_STATES - RESTING_STATES))
    return Books(
        held={asset: one for asset, one in held.items() if one},
        flows={asset: one for asset, one in flows.items() if one},
        ours=frozenset(asset for symbol in symbols for asset in assets_of(symbol)),
        in_flight=frozenset(open_.values_list("symbol", flat=True)),
    )


def _traded(account: Account) -> Iterable[str]:
    bots = Bot.objects.filter(venue=account.venue).exclude(status=BotStatus.ARCHIVED)
    on_paper = Q(dry_run=True, paper_broker=PaperBroker.VENUE)
    bots = bots.filter(Q(dry_run=False) if account.is_live else on_paper)
    return bots.values_list("symbol", flat=True)


def own_orders(account: Account, listed: Collection[ListedOrder] = ()) -> list[OwnOrder]:
    """Return our orders that have not ended, and those that a listed one may be, denied ones too: they must not be there."""
    ids = [one.venue_order_id for one in listed]
    mine = [one.client_order_id for one in listed if one.client_order_id]
    rows = Order.objects.filter(venue=account.venue, is_live=account.is_live, bot__isnull=False)
    found = rows.filter(Q(venue_order_id__in=ids) | Q(client_order_id__in=mine)) if ids else rows.none()
    open_ = orders_of(account).filter(status__in=sorted(OPEN_STATES))
    return [own_of(one) for one in {one.pk: one for one in [*open_, *found]}.values()]


def own_by_venue_id(account: Account, ids: Collection[str]) -> dict[str, OwnOrder]:
    """Return our orders that the venue calls by these ids."""
    rows = orders_of(account).filter(venue_order_id__in=sorted(set(ids) - {""}))
    return {one.venue_order_id: own_of(one) for one in rows}


def stranger_ids(account: Account, ids: Collection[str]) -> frozenset[str]:
    """Return which of the venue's ids belong to orders that are somebody else's."""
    return frozenset(
        externals_of(account).filter(venue_order_id__in=sorted(set(ids))).values_list("venue_order_id", flat=True)
    )


def booked_trades(account: Account, trade_ids: Collection[str]) -> frozenset[str]:
    """Return which of these trades are in our books."""
    rows = Fill.objects.filter(venue=account.venue, is_live=account.is_live, trade_id__in=sorted(trade_ids))
    return frozenset(rows.values_list("trade_id", flat=True))


def counted_references(account: Account, references: Collection[str]) -> frozenset[str]:
    """Return which of these references moved a baseline, or were in it from the start, and were not undone."""
    rows = AccountMovement.objects.filter(account=account, reference__in=sorted(references), undone_at__isnull=True)
    return frozenset(rows.values_list("reference", flat=True))


def baselines_of(account: Account) -> dict[str, AssetBaseline]:
    """Return the baselines of an account by asset."""
    return {one.asset: one for one in AssetBaseline.objects.filter(account=account)}


def pending_shares(account: Account) -> dict[str, Decimal]:
    """Return by how much shares changed, by asset, which no person has carried into the books yet."""
    rows = AccountMovement.objects.filter(account=account, share_difference__closed_at__isnull=True)
    found: dict[str, Decimal] = {}
    with localcontext(EXACT):
        for asset, quantity in rows.exclude(share_difference=None).values_list("asset", "quantity"):
            found[asset] = found.get(asset, ZERO) + quantity
    return found


def trades_since(account: Account, asset: str, since: datetime | None) -> int:
    """Return how many trades moved this money since then, ours and others': the venue rounds each."""
    if since is None or asset not in MONEY:
        return 0
    # What the console fills by itself on paper is in no venue's money: those orders have no deadline.
    fills = Fill.objects.filter(order__in=orders_of(account), filled_at__gte=since)
    ours = sum(1 for symbol in fills.values_list("order__symbol", flat=True) if assets_of(symbol)[1] == asset)
    others = AccountMovement.objects.filter(
        account=account, asset=asset, kind="external_fill", counts=True, happened_at__gte=since
    )
    return ours + others.count()


def open_externals(account: Account) -> list[str]:
    """Return the venue's ids of the orders of others that are open, as far as we know."""
    rows = externals_of(account).filter(external_ended_at__isnull=True)
    return list(rows.values_list("venue_order_id", flat=True))


def external_state(account: Account, venue_order_id: str) -> tuple[Decimal, datetime | None] | None:
    """Return what is kept of an order of somebody else: what was filled, and when it ended; None when nothing is."""
    rows = externals_of(account).filter(venue_order_id=venue_order_id)
    return rows.values_list("filled_quantity", "external_ended_at").first()


def undecided_symbols(account: Account) -> frozenset[str]:
    """Return the symbols of which an order of ours may be at the venue under an id that we do not know."""
    states = sorted(OPEN_STATES - RESTING_STATES)
    rows = orders_of(account).filter(status__in=states, venue_order_id="")
    return frozenset(rows.values_list("symbol", flat=True))


def own_of(order: Order) -> OwnOrder:
    """Return a stored order as a plain value."""
    return OwnOrder(
        id=order.pk,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        filled_quantity=order.filled_quantity,
        status=OrderStatus(order.status),
        created_at=order.created_at,
        updated_at=order.updated_at,
        looked_up_at=order.looked_up_at,
        missed_at=order.missed_at,
    )
