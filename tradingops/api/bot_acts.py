"""What is done with a bot over the API: looked at, changed, started, paused, stopped, sold out, retired; all by the manager."""

from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, Self

from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Query
from pydantic import Field, model_validator

from bots import manager
from bots.bot_checks import POLL_SECONDS_MAX, SCORE_MAX
from bots.models import Bot, BotStatus, Venue
from safety.permissions import OPERATE_BOT
from tradingops.api import bots
from tradingops.api.auth import Caller, caller_of
from tradingops.api.bot_rows import read_bots
from tradingops.api.bot_shapes import BotOut, BotPage, bot_values, shown
from tradingops.api.errors import REFUSALS, Refused
from tradingops.api.order_shapes import OrderOut
from tradingops.api.order_shapes import shown as shown_order
from tradingops.api.paging import (
    Listing,
    Mark,
    PageIn,
    answer,
    answer_written,
    cut,
    refuse_parameters,
    start_of,
    written,
)
from tradingops.api.values import Figure, Input, PathId, Text, WholeNumber
from tradingops.shared import SharedByQuestion

#: The same as of those that make bots: one path has one router.
router = bots.router
VIEW, CHANGE = "bots.view_bot", "bots.change_bot"
#: What an endpoint of its own changes, and PATCH never does.
ELSEWHERE = {
    "dry_run": "dry_run is set with POST /api/bots/{id}/dry-run, which says what it takes",
    "status": "status follows POST /api/bots/{id}/start, /stop and /pause, and DELETE /api/bots/{id}",
    "entries_held": "entries_held is cleared by a person, on the bot's page",
    "venue": "a bot stays at its venue: make another one",
    "strategy": "a bot keeps its strategy: make another one",
    "by_autopilot": "by_autopilot says who made a bot, and stays",
}


class BotsIn(PageIn):
    """Which bots, and which page of them. What is left out is not asked for."""

    venue: Venue | None = None
    symbol: Text | None = Field(None, max_length=30, description="In full, such as BTC/USD.")
    status: BotStatus | None = None
    dry_run: bool | None = Field(None, description="True: those on paper. False: those that are set live.")
    strategy: Text | None = Field(None, max_length=40)
    name: Text | None = Field(None, max_length=60, description="In full.")


class BotChangesIn(Input):
    """What to change of a bot; what is left out stays. ``params`` are laid over those that it has."""

    name: Text = Field(default_factory=str, min_length=1, max_length=60)
    params: dict[str, Any] = Field(default_factory=dict, description="Figures as decimal texts or whole numbers.")
    capital_usd: Figure = Field(default_factory=lambda: Decimal(1), description="How much it may commit.")
    poll_seconds: WholeNumber = Field(default_factory=int, ge=1, le=POLL_SECONDS_MAX)
    score_min: WholeNumber = Field(
        default_factory=int,
        ge=0,
        le=SCORE_MAX,
        description="The least score of its market for new entries; 0: any.",
    )
    symbol: Text = Field(
        default_factory=str,
        min_length=1,
        max_length=30,
        description="Only while it holds nothing and has no open order.",
    )

    @model_validator(mode="before")
    @classmethod
    def _not_here(cls, given: Any) -> Any:
        """Refuse what another endpoint changes, and say which."""
        for name, where in ELSEWHERE.items():
            if isinstance(given, dict) and name in given:
                raise ValueError(where)
        return given

    @model_validator(mode="after")
    def _something(self) -> Self:
        """Refuse a change of nothing: a client that sends none has lost what it meant."""
        if not self.model_fields_set:
            raise ValueError("say what to change: name, params, capital_usd, poll_seconds, score_min or symbol")
        return self


class ReasonIn(Input):
    """Why. It is shown on the bot's page and kept in the operator events."""

    reason: Text = Field("", max_length=manager.REASON_TEXT_MAX)


class NothingIn(Input):
    """Nothing: a body may be left out or empty."""


#: What a request without a body says.
NO_REASON, NOTHING = ReasonIn(reason=""), NothingIn()
ONE = {200: BotOut, **REFUSALS}
FILTERS = set(BotsIn.model_fields) - set(PageIn.model_fields)
BOTS = Listing("bots")


@router.get("/bots", response={200: BotPage, **REFUSALS}, summary="List bots, newest first")
def list_bots(request: HttpRequest, asked: Annotated[BotsIn, Query()]) -> HttpResponse:
    """Return one page of bots, archived ones too, each with its position, its P&L and what holds it back."""
    caller_of(request).require(VIEW)
    return answer_written(_pages.get(asked))


def _page(asked: BotsIn) -> bytes:
    """Return a page of bots as it stands, as JSON: the same for everyone who may see bots."""
    wanted = asked.model_dump(mode="json", exclude_none=True, include=FILTERS)
    start = start_of(BOTS, asked)
    found = read_bots(wanted, below=None if start is None else start.id, count_max=asked.limit + 1)
    page, after = cut(found, BOTS, asked, lambda one: Mark(one[0].pk))
    return written({"items": bot_values(page, timezone.now()), "next": after})


#: Screens and scripts that look at the same page at the same time share one reading, which began after each of them asked.
_pages: SharedByQuestion[BotsIn, bytes] = SharedByQuestion(_page)


@router.get("/bots/{int:bot_id}", response=ONE, summary="Look at one bot")
def read_bot(request: HttpRequest, bot_id: PathId) -> HttpResponse:
    """Return one bot with its position, its P&L and what holds it back."""
    caller_of(request).require(VIEW)
    refuse_parameters(request)
    return _told(bot_id)


@router.patch("/bots/{int:bot_id}", response=ONE, summary="Change a bot's settings")
def change_bot(request: HttpRequest, bot_id: PathId, payload: BotChangesIn) -> HttpResponse:
    """Change settings; each change is an operator event. A running bot takes them up with its next tick."""
    asker = caller_of(request)
    asker.require(CHANGE)
    bot = _bot(asker, bot_id, raises_risk=True)
    given = {name: getattr(payload, name) for name in payload.model_fields_set}
    params_over = given.get("params")
    if "name" in given:
        given["name"] = given["name"].strip()
        _refuse_taken(bot, given["name"])
    for name, value in given.items():
        if name != "params":
            setattr(bot, name, value)
    try:
        manager.update(bot, actor=asker.actor, only=given, is_live=bot.is_live, params_over=params_over)
    except IntegrityError as taken:
        raise Refused(HTTPStatus.CONFLICT, "Another bot took the name just now.") from taken
    return _told(bot_id)


@router.delete("/bots/{int:bot_id}", response=ONE, summary="Archive a bot")
def archive_bot(request: HttpRequest, bot_id: PathId) -> HttpResponse:
    """Retire a bot for good. Its history stays. 409 while it holds a position, or an order that has not ended at its venue."""
    asker = caller_of(request)
    bot = _bot(asker, bot_id, raises_risk=False)
    manager.archive(bot_id, actor=asker.actor, is_live=bot.is_live)
    return _told(bot_id)


@router.post("/bots/{int:bot_id}/start", response=ONE, summary="Start a bot")
def start_bot(request: HttpRequest, bot_id: PathId, payload: NothingIn = NOTHING) -> HttpResponse:
    """Let a bot trade. A worker takes it up within seconds; ``blocked_by`` says what holds it back."""
    asker = caller_of(request)
    bot = _bot(asker, bot_id, raises_risk=True)
    manager.start(bot_id, actor=asker.actor, is_live=bot.is_live)
    return _told(bot_id)


@router.post("/bots/{int:bot_id}/stop", response=ONE, summary="Stop a bot")
def stop_bot(request: HttpRequest, bot_id: PathId, payload: ReasonIn = NO_REASON) -> HttpResponse:
    """Stop a bot: its resting orders are cancelled, its position is kept, and nobody manages it until it is started."""
    asker = caller_of(request)
    bot = _bot(asker, bot_id, raises_risk=False)
    manager.stop(bot_id, actor=asker.actor, reason=payload.reason, is_live=bot.is_live)
    return _told(bot_id)


@router.post("/bots/{int:bot_id}/pause", response=ONE, summary="Pause a bot")
def pause_bot(request: HttpRequest, bot_id: PathId, payload: ReasonIn = NO_REASON) -> HttpResponse:
    """Hold a bot's entries; those that rest are cancelled, and exits go on being managed. 409 for a stopped bot."""
    asker = caller_of(request)
    bot = _bot(asker, bot_id, raises_risk=False)
    manager.pause(bot_id, actor=asker.actor, reason=payload.reason, is_live=bot.is_live)
    return _told(bot_id)


@router.post(
    "/bots/{int:bot_id}/close-position", response={200: OrderOut, **REFUSALS}, summary="Sell all that a bot holds"
)
def close_position(request: HttpRequest, bot_id: PathId, payload: NothingIn = NOTHING) -> HttpResponse:
    """Cancel what rests, sell the whole position at the market, pause the bot, and return the order.

    409 when it holds nothing that the venue would sell, and with every reason when the order is denied. What rested is cancelled
    then all the same.
    """
    asker = caller_of(request)
    bot = _bot(asker, bot_id, raises_risk=False)
    submission = manager.close_position(bot_id, actor=asker.actor, is_live=bot.is_live)
    if submission.is_denied:
        raise Refused(HTTPStatus.CONFLICT, "The sale was denied. Nothing was sold.", submission.denials)
    return answer(shown_order(submission.order))


def _bot(asker: Caller, bot_id: int, *, raises_risk: bool) -> Bot:
    """Return a bot that the caller may do this to. Raises Refused and Http404: see safety.permissions.may_operate."""
    asker.require(OPERATE_BOT)
    bot = get_object_or_404(Bot, pk=bot_id)
    if bot.is_live:
        asker.require_on_live(raises_risk=raises_risk)
    return bot


def _told(bot_id: int) -> HttpResponse:
    """Return a bot as it now stands."""
    return answer(shown(get_object_or_404(Bot.objects.select_related("tick"), pk=bot_id)))


def _refuse_taken(bot: Bot, name: str) -> None:
    if Bot.objects.filter(name=name).exclude(pk=bot.pk).exists():
        raise Refused(HTTPStatus.CONFLICT, "Another bot has this name already.")
