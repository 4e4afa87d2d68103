"""Bots over the API: thin over the manager and going live."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.db import IntegrityError
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from pydantic import Field

from bots import going_live, manager
from bots.bot_checks import SCORE_MAX
from bots.manager import BotActionError
from bots.models import Bot, Venue
from bots.strategies import registry
from safety import api_requests
from safety.models import ApiRequest
from safety.permissions import OPERATE_BOT, TRADE_LIVE
from tradingops.api.auth import Caller, caller_of
from tradingops.api.bot_shapes import BotOut, shown
from tradingops.api.errors import REFUSALS, Refused
from tradingops.api.idempotency import IdempotencyKey, Making, asked_by, once
from tradingops.api.values import Figure, Flag, Input, Text, WholeNumber

router = Router(tags=["bots"])


class BotIn(Input):
    """A new bot. It is made on paper and stopped. ``params`` are the strategy's; what is left out takes its default."""

    name: Text = Field(min_length=1, max_length=60, description="Its own: no two bots share one.", examples=["Dips"])
    venue: Text = Field(
        description="Where it trades.", examples=[Venue.REPLAY.value], json_schema_extra={"enum": list(Venue.values)}
    )
    symbol: Text = Field(description="One that the venue has.", examples=["SPY"])
    strategy: Text = Field(
        description="How it trades.",
        examples=["smart_dca"],
        json_schema_extra={"enum": [strategy.key for strategy in registry.all()]},
    )
    capital_usd: Figure = Field(description="How much it may commit, in USD.", examples=["250"])
    params: dict[str, Any] = Field(
        default_factory=dict, description="Figures as decimal texts or whole numbers.", examples=[{}]
    )
    poll_seconds: WholeNumber = Field(5, ge=1, le=86_400, description="Seconds between two looks at the market.")
    score_min: WholeNumber = Field(
        0, ge=0, le=SCORE_MAX, description="New entries only while its market's score is at least this; 0: any."
    )


class DryRunIn(Input):
    """From paper to live, or back. ``confirm`` is the bot's name; it and a reason are needed to go live."""

    dry_run: Flag
    confirm: Text = ""
    reason: Text = Field("", max_length=500)


@router.post("/bots", response={201: BotOut, **REFUSALS}, summary="Make a bot, on paper and stopped")
def create_bot(request: HttpRequest, payload: BotIn, idempotency_key: IdempotencyKey = None) -> Status[BotOut]:
    """Make a bot. It trades on paper until somebody sets it live, and only after it is started.

    With an Idempotency-Key the same request, asked again, gives the same bot as it now stands.
    """
    asker = caller_of(request)
    asker.require("bots.add_bot")
    if idempotency_key is None:
        return Status(HTTPStatus.CREATED, shown(_made(payload, asker)))

    def made(claim: ApiRequest) -> Bot:
        return _made(payload, asker, also=lambda bot: api_requests.keep_made(claim, str(bot.pk)))

    making = Making(str, _bot_of, lambda bot: False, made)
    return Status(HTTPStatus.CREATED, shown(once(asked_by(asker, idempotency_key, "POST /bots", payload), making)))


def _made(payload: BotIn, asker: Caller, also: Callable[[Bot], object] | None = None) -> Bot:
    new = manager.NewBot(
        name=payload.name,
        venue=payload.venue,
        symbol=payload.symbol,
        strategy=payload.strategy,
        capital_usd=payload.capital_usd,
        params=payload.params,
        poll_seconds=payload.poll_seconds,
        score_min=payload.score_min,
    )
    try:
        return manager.create(new, actor=asker.actor, also=also)
    except BotActionError as wrong:
        is_taken = Bot.objects.filter(name=payload.name.strip()).exists()
        raise Refused(HTTPStatus.CONFLICT if is_taken else HTTPStatus.UNPROCESSABLE_ENTITY, str(wrong)) from wrong
    except IntegrityError as taken:
        raise Refused(HTTPStatus.CONFLICT, "Another bot took the name just now.") from taken


def _bot_of(claim: ApiRequest) -> Bot | None:
    return Bot.objects.filter(pk=int(claim.made)).first() if claim.made else None


@router.post("/bots/{int:bot_id}/dry-run", response={200: BotOut, **REFUSALS}, summary="Set a bot live, or to paper")
def set_dry_run(request: HttpRequest, bot_id: int, payload: DryRunIn) -> BotOut:
    """Set a bot live or back to paper, whatever the gates say: one behind a shut gate is blocked, and says by what."""
    asker = caller_of(request)
    asker.require_live(OPERATE_BOT if payload.dry_run else TRADE_LIVE)
    is_live = get_object_or_404(Bot, pk=bot_id).is_live
    if is_live:
        asker.require_on_live(raises_risk=False)
    if payload.dry_run:
        done = going_live.set_paper(bot_id, actor=asker.actor, reason=payload.reason, may_be_live=is_live)
        return shown(done)
    asker.require_recent_sign_in()
    bot = going_live.set_live(
        bot_id, actor=asker.actor, confirm=payload.confirm, reason=payload.reason, is_person=not asker.is_token
    )
    return shown(bot)
