"""What event streams tell, read from the database and made into text once for all listeners of a process.

A stream's place is the seq of its last live and of its last paper order event. Within a chain seqs have no gaps and become
visible in their order, since the chain's head is locked until the commit: whoever reads on from a seq misses nothing. The
table's ids promise no such thing, where two transactions commit in another order than they began.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import Any, NamedTuple

from django.db.models import Count, Sum

from audit.chain import Chain
from audit.models import ChainHead, OrderEvent
from audit.records import utc_text
from bots.models import Bot
from safety.intents import Level
from safety.kill_switch import GLOBAL, read_state
from safety.models import TradingState
from tradingops.api.values import text_of
from tradingops.health import current_mode

ORDER, BOT, SAFETY = "order", "bot", "safety"
ROWS_PER_QUERY = 500
SCOPES_MAX = 100
_PLACE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})", re.ASCII)


class Place(NamedTuple):
    """How far a stream has come: the seq of the last event of the live chain and of the paper chain. 0 is before the first."""

    live: int
    paper: int

    @property
    def text(self) -> str:
        """Return the place as a stream's event id."""
        return f"{self.live}-{self.paper}"

    @classmethod
    def parse(cls, text: str) -> "Place | None":
        """Return the place that an event id tells, or None for what no stream ever told."""
        found = _PLACE.fullmatch(text.strip())
        return None if found is None else cls(int(found[1]), int(found[2]))

    def after(self, news: "News") -> "Place":
        """Return the place after an order event."""
        return self._replace(live=news.seq) if news.is_live else self._replace(paper=news.seq)

    def has(self, news: "News") -> bool:
        """Return whether an order event is at or before this place."""
        return news.seq <= (self.live if news.is_live else self.paper)


@dataclass(frozen=True, slots=True)
class News:
    """One thing to tell. ``data`` is its JSON; ``seq`` and ``is_live`` are an order event's."""

    kind: str
    data: bytes
    bot_id: int | None = None
    seq: int = 0
    is_live: bool = False
    row_id: int = 0


def heads() -> Place:
    """Return the place of the newest order events. Raises django.db.Error."""
    found = dict(ChainHead.objects.filter(chain__in=(Chain.LIVE, Chain.PAPER)).values_list("chain", "seq"))
    return Place(found.get(Chain.LIVE.value, 0), found.get(Chain.PAPER.value, 0))


def order_news(after: Place, upto: Place) -> Iterator[News]:
    """Yield the order events after one place, up to another. Each chain's are in order, and both in that of their ids.

    Raises django.db.Error.
    """
    live = _chain_news(True, after.live, upto.live)
    paper = _chain_news(False, after.paper, upto.paper)
    return merge(live, paper, key=lambda news: news.row_id)


def _chain_news(is_live: bool, after: int, upto: int) -> Iterator[News]:
    for start in range(after + 1, upto + 1, ROWS_PER_QUERY):
        end = min(start + ROWS_PER_QUERY - 1, upto)
        rows = OrderEvent.objects.filter(is_live=int(is_live), seq__gte=start, seq__lte=end).order_by("seq")
        yield from map(_order_news, rows)


def _order_news(row: OrderEvent) -> News:
    told = {
        "id": row.pk,
        "seq": row.seq,
        "ts": utc_text(row.ts),
        "bot_id": row.bot_id,
        "client_order_id": row.client_order_id,
        "venue": row.venue,
        "symbol": row.symbol,
        "side": row.side,
        "ord_type": row.ord_type,
        "price": text_of(row.price),
        "amount": text_of(row.amount),
        "venue_order_id": row.venue_order_id,
        "event": row.event,
        "status": row.status,
        "reason": row.reason,
        "is_live": bool(row.is_live),
        "actor": row.actor,
        "details": row.details,
        "prev_hash": row.prev_hash,
        "hash": row.hash,
    }
    return News(ORDER, _json(told), row.bot_id, row.seq, bool(row.is_live), row.pk)


def safety_news() -> News:
    """Return the trading state as it stands, and the venues and bots that are held back by themselves. Raises django.db.Error."""
    state = read_state()
    held = TradingState.objects.exclude(level=Level.ACTIVE).exclude(scope=GLOBAL).order_by("scope")
    scopes = [
        {"scope": row.scope, "state": row.level if row.level in Level.values else Level.HALTED, "reason": row.reason}
        for row in held[:SCOPES_MAX]
    ]
    told = {
        "trading_state": state.level.value,
        "reasons": list(state.reasons),
        "mode": current_mode().value,
        "scopes": scopes,
    }
    return News(SAFETY, _json(told))


class Bots:
    """Which state of each bot was told last. Each change of a bot raises its revision; while none rose, a look reads one row."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] | None = None
        self._revisions: dict[int, int] = {}

    def changes(self) -> list[News]:
        """Return what changed since the last look; at the first, every bot. Raises django.db.Error."""
        sums = Bot.objects.order_by().aggregate(Count("pk"), Sum("revision"))
        if sums == self._sums:
            return []
        found = dict(Bot.objects.order_by().values_list("pk", "revision"))
        changed = [pk for pk, revision in found.items() if self._revisions.get(pk) != revision]
        news = [_bot_news(bot) for bot in Bot.objects.filter(pk__in=changed).order_by("pk")]
        # One that changed again in between is told as it now is, and once more at the next look.
        self._revisions, self._sums = found, sums
        return news


def _bot_news(bot: Bot) -> News:
    told = {
        "id": bot.pk,
        "name": bot.name,
        "venue": bot.venue,
        "symbol": bot.symbol,
        "strategy": bot.strategy,
        "status": bot.status,
        "status_reason": bot.status_reason,
        "dry_run": bot.dry_run,
        "is_live": bot.is_live,
        "entries_held": bot.entries_held,
        "revision": bot.revision,
    }
    return News(BOT, _json(told), bot.pk)


def _json(told: dict[str, Any]) -> bytes:
    # ensure_ascii leaves no line break of any kind in it, which would end the event.
    return json.dumps(told, separators=(",", ":")).encode()
