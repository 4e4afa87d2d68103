"""Differences: what stays open until both sides agree again, or a person settles it. While one is open, entries wait."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from audit.decimals import decimal_text
from audit.fields import canonical_json
from audit.log import OperatorEventRecord, record
from bots.accounts import account_name
from bots.models import Account, Difference, DifferenceKind, Order
from bots.reconciliation.alarms import ACTOR, MISMATCH, alarm
from bots.reconciliation.balances import Standing, Verdict
from bots.reconciliation.compare import Conflict
from bots.telling import about_account, about_order

#: How a difference was closed: by itself, or by a person who accepted the venue's figure, or took note of it.
AGREES, ACCEPTED, NOTED = "agrees", "accepted", "noted"
#: Kinds that are about figures, which can be accepted; the others can only be taken note of.
FIGURES = (DifferenceKind.SHORTAGE, DifferenceKind.SURPLUS)


def keep(account: Account, standing: Standing, verdict: Verdict, now: datetime) -> Difference:
    """Open the difference about this asset, or bring its figures up to date. The account is locked, in an audit unit."""
    kind = DifferenceKind.SHORTAGE if verdict == Verdict.SHORTAGE else DifferenceKind.SURPLUS
    figures = {
        "kind": kind,
        "text": _explained(account, standing, kind),
        "venue": standing.venue,
        "expected": standing.expected,
        "held": standing.held,
        "flows": standing.flows,
        "seen_at": now,
    }
    known = open_ones(account).filter(key=asset_key(standing.asset)).first()
    if known is None:
        known = Difference.objects.create(
            account=account, key=asset_key(standing.asset), asset=standing.asset, opened_at=now, **figures
        )
        alarm(
            MISMATCH,
            f"account:{account.name} {standing.asset}",
            f"{known.text} Entries wait until it is settled.",
            title=f"{account.venue.capitalize()}: our books and the venue differ in {standing.asset}",
            facts=about_account(account, standing.asset),
        )
        return known
    for name, value in figures.items():
        setattr(known, name, value)
    known.save()
    return known


def close_agreed(account: Account, assets: Iterable[str], now: datetime) -> list[Difference]:
    """Close what was open about assets of which both sides agree again, and return it. The account is locked."""
    keys = [asset_key(asset) for asset in assets]
    closed = list(open_ones(account).filter(key__in=keys))
    for one in closed:
        close(one, AGREES, ACTOR, "both sides agree again", now)
    return closed


def open_conflict(account: Account, conflict: Conflict, now: datetime) -> Difference | None:
    """Open a difference about an order that has our id and can't be ours; None when it is known, or a person took note of it."""
    key = f"order:{conflict.listed.venue_order_id}"
    if Difference.objects.filter(account=account, key=key).exists():
        return None
    own = conflict.own
    text = f"Order {conflict.listed.venue_order_id} at the venue has the id of our order {own.client_order_id}: {conflict.text}."
    found = Difference.objects.create(
        account=account,
        kind=DifferenceKind.ORDER,
        key=key,
        symbol=own.symbol,
        venue_order_id=conflict.listed.venue_order_id,
        client_order_id=own.client_order_id,
        text=text[:500],
        opened_at=now,
        seen_at=now,
    )
    alarm(
        MISMATCH,
        f"order:{own.client_order_id}",
        f"{text} It was not adopted, and entries in {own.symbol} wait.",
        title=f"{account.venue.capitalize()}: an order has the id of ours and can't be ours",
        facts=about_account(account, own.symbol),
    )
    return found


def open_oversold(order: Order, text: str) -> None:
    """Open a difference about an order that sold more than its book held. In the unit that books its fills."""
    name, now = account_name(order.venue, is_live=order.is_live), timezone.now()
    account, _ = Account.objects.get_or_create(name=name, defaults={"venue": order.venue, "is_live": order.is_live})
    key = f"oversold:{order.client_order_id}"
    if not open_ones(account).filter(key=key).exists():
        Difference.objects.create(
            account=account,
            kind=DifferenceKind.OVERSOLD,
            key=key,
            symbol=order.symbol,
            venue_order_id=order.venue_order_id,
            client_order_id=order.client_order_id,
            text=text[:500],
            opened_at=now,
            seen_at=now,
        )
    alarm(
        MISMATCH,
        f"order:{order.client_order_id}",
        text,
        title=f"{order.venue.capitalize()}: an order sold more than its bot held",
        facts=about_order(order),
    )


def open_ones(account: Account | None = None) -> QuerySet[Difference]:
    """Return the differences that are open, of one account or of all."""
    rows = Difference.objects.filter(closed_at__isnull=True)
    return rows if account is None else rows.filter(account=account)


def close(difference: Difference, outcome: str, actor: str, reason: str, now: datetime) -> None:
    """Close a difference and say so in the audit. It is locked, in an audit unit."""
    difference.closed_at, difference.closed_by, difference.outcome = now, actor[:150], outcome
    difference.reason = reason[:500]
    difference.save(update_fields=["closed_at", "closed_by", "outcome", "reason"])
    shown = {name: getattr(difference, name) for name in ("venue", "expected", "held", "flows")}
    record(
        OperatorEventRecord(
            actor=actor,
            action=f"difference_{outcome}",
            object=f"account:{difference.account_id} {difference.key}",
            old=canonical_json({"kind": difference.kind, "text": difference.text, **shown}),
            new=outcome,
            reason=reason,
        )
    )


def asset_key(asset: str) -> str:
    """Return the key of the difference about an asset's figures."""
    return f"asset:{asset}"


def _explained(account: Account, standing: Standing, kind: DifferenceKind) -> str:
    venue, asset = account.venue.capitalize(), standing.asset
    there, wanted = decimal_text(standing.venue), decimal_text(standing.expected)
    if standing.missing:
        held = decimal_text(standing.held)
        return f"{venue} has {there} {asset}, and our books hold {held}: {decimal_text(standing.missing)} {asset} are missing."
    if kind == DifferenceKind.SHORTAGE:
        return f"{venue} has {there} {asset} where {wanted} ought to be: {decimal_text(-standing.delta)} {asset} are missing."
    return f"{venue} has {there} {asset} where {wanted} ought to be: nothing explains {decimal_text(standing.delta)} {asset}."
