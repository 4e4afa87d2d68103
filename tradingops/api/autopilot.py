"""The autopilot over the API: its settings, one cycle now, and what its scans think of each symbol."""

from http import HTTPStatus
from typing import Annotated, Any, Literal, Self

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field, StringConstraints, model_validator

from bots.autopilot import config as autopilot_config
from bots.autopilot.config import AutopilotConfigError, AutopilotLiveRefused
from bots.autopilot.cycle import AutopilotOff, CycleTaken
from bots.models import AutopilotConfig, Recommendation
from safety.permissions import OPERATE_BOT
from tradingops.api.auth import Caller, caller_of
from tradingops.api.autopilot_shapes import AutopilotOut, RecommendationOut, recommended, shown
from tradingops.api.errors import REFUSALS, Refused, reason
from tradingops.api.paging import Listing, PageIn, answer, page_of
from tradingops.api.values import Figure, Flag, Input, Output, Text, WholeNumber
from tradingops.autopilot_runs import run_now

router = Router(tags=["autopilot"])
LISTING = Listing("recommendations")
Venues = Literal["replay", "kraken", "alpaca"]
AssetTypes = Literal["crypto", "stock"]
Symbol = Annotated[Text, StringConstraints(min_length=1, max_length=20)]
Percent = Annotated[Figure, Field(le=100, examples=["2"])]
#: What is in a change without being a setting that ``config.change`` keeps.
BESIDE = {"reason", "confirm", "dry_run"}


class AutopilotIn(Input):
    """What is to change; what is left out stays. A profile sets slots and scores, unless they are given beside it."""

    enabled: Flag | None = None
    dry_run: Flag | None = Field(
        None,
        description="false: its bots trade with real money. That takes confirm, a reason, and nothing else beside it.",
    )
    profile: Literal["conservative", "balanced", "aggressive"] | None = None
    universe: dict[Venues, Annotated[list[Symbol], Field(max_length=500)]] | None = Field(
        None, examples=[{"replay": ["BTC-PERP"]}]
    )
    asset_types: Annotated[list[AssetTypes], Field(max_length=2)] | None = None
    total_capital_usd: Figure | None = None
    is_by_conviction: Flag | None = None
    slots: WholeNumber | None = Field(None, ge=1, le=100)
    sector_slots: WholeNumber | None = Field(None, ge=1, le=100)
    score_min: WholeNumber | None = Field(None, ge=0, le=100)
    score_demote: WholeNumber | None = Field(None, ge=0, le=100)
    cooldown_minutes: WholeNumber | None = Field(None, ge=0, le=100_000)
    scan_interval_s: WholeNumber | None = Field(None, ge=30, le=86_400)
    daily_loss_pct: Percent | None = None
    weekly_loss_pct: Percent | None = None
    auto_start: Flag | None = None
    close_mode: Literal["manage_out", "flatten"] | None = None
    confirm: Text = Field(
        "", max_length=100, description=f"With dry_run false: exactly {autopilot_config.LIVE_WORDS!r}."
    )
    reason: Text = Field(
        "", max_length=500, description="Why. It is kept in the audit. With dry_run false it is needed."
    )

    @model_validator(mode="after")
    def _no_symbol_twice(self) -> Self:
        """Refuse a symbol that stands twice: it would look like two chances."""
        for venue, symbols in (self.universe or {}).items():
            if len(set(symbols)) < len(symbols):
                raise ValueError(f"a symbol stands twice in the universe of {venue}")
        return self

    @model_validator(mode="after")
    def _real_money_by_itself(self) -> Self:
        """Refuse other changes beside real money: what is set live has to be what was looked at."""
        if self.dry_run is False and self.settings():
            raise ValueError("dry_run false goes by itself: change the other settings before, and look at them")
        return self

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given."""
        given = self.model_dump(exclude_unset=True, exclude=BESIDE)
        return {name: value for name, value in given.items() if value is not None}

    @property
    def raises_risk(self) -> bool:
        """Return whether this may let it trade more: all but switching it off and setting it back to paper may."""
        return self.dry_run is False or any(
            (name, value) != ("enabled", False) for name, value in self.settings().items()
        )


class RecommendationIn(PageIn):
    """Which recommendations."""

    venue: Text | None = Field(None, max_length=20)
    symbol: Text | None = Field(None, max_length=20)


class RecommendationsOut(Output):
    """A page of recommendations, newest first."""

    items: list[RecommendationOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


@router.get("/autopilot", response={200: AutopilotOut, **REFUSALS}, summary="The autopilot's settings, and how it is")
def read_autopilot(request: HttpRequest) -> HttpResponse:
    """Return the settings, when the last cycle was, and what it decided."""
    caller_of(request).require("bots.view_autopilotconfig")
    return answer(shown(autopilot_config.read()))


@router.patch("/autopilot", response={200: AutopilotOut, **REFUSALS}, summary="Change the autopilot's settings")
def change_autopilot(request: HttpRequest, payload: AutopilotIn) -> HttpResponse:
    """Change what is named. Where it or a bot that it made trades with real money, or is to, this takes the scope trade.

    ``dry_run`` false takes ``confirm`` and ``reason``, and from a session a recent sign-in. 409 with every reason while a lock of
    a venue in its universe is shut.
    """
    asker = caller_of(request)
    is_real = autopilot_config.is_about_real_money(autopilot_config.read())
    _require(asker, is_real=is_real, raises_risk=payload.raises_risk, wants_live=payload.dry_run is False)
    if payload.dry_run is False:
        return answer(shown(_set_live(asker, payload)))
    if payload.dry_run is True:
        autopilot_config.set_paper(actor=asker.actor, reason=payload.reason)
    try:
        done = autopilot_config.change(
            payload.settings(), actor=asker.actor, reason=payload.reason, may_be_real_money=is_real
        )
        return answer(shown(done))
    except AutopilotConfigError as wrong:
        reasons = [reason(name, text) for name, text in wrong.problems]
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(wrong), reasons=reasons) from wrong


@router.post("/autopilot/run", response={200: AutopilotOut, **REFUSALS}, summary="Run one cycle now")
def run_autopilot(request: HttpRequest) -> HttpResponse:
    """Run one cycle now, and return what it decided; after 10 s as far as it has come: it then goes on by itself.

    Where it or a bot that it made trades with real money this takes the scope trade. 409 while it is switched off, or a cycle
    is under way.
    """
    asker = caller_of(request)
    is_real = autopilot_config.is_about_real_money(autopilot_config.read())
    _require(asker, is_real=is_real, raises_risk=True, wants_live=False)
    try:
        run_now(asker.actor)
    except AutopilotOff as off:
        raise Refused(HTTPStatus.CONFLICT, str(off), code="autopilot_off") from off
    except CycleTaken as taken:
        raise Refused(HTTPStatus.CONFLICT, str(taken), code="cycle_running") from taken
    return answer(shown(autopilot_config.read()))


@router.get(
    "/recommendations", response={200: RecommendationsOut, **REFUSALS}, summary="What scans think of each symbol"
)
def read_recommendations(request: HttpRequest, asked: Query[RecommendationIn]) -> HttpResponse:
    """Return a page of recommendations, newest first."""
    caller_of(request).require("bots.view_recommendation")
    named = {"venue": asked.venue, "symbol": asked.symbol}
    rows = Recommendation.objects.filter(**{name: value for name, value in named.items() if value is not None})
    found, cursor = page_of(rows, LISTING, asked)
    return answer(RecommendationsOut(items=[recommended(one) for one in found], next=cursor))


def _require(asker: Caller, *, is_real: bool, raises_risk: bool, wants_live: bool) -> None:
    """Return quietly when the caller may do this: what is about real money takes what a live bot does. Raises Refused."""
    if wants_live or is_real:
        asker.require_on_live(raises_risk=raises_risk)
    else:
        asker.require_live(OPERATE_BOT)
    if wants_live or (raises_risk and is_real):
        asker.require_recent_sign_in()


def _set_live(asker: Caller, payload: AutopilotIn) -> AutopilotConfig:
    try:
        return autopilot_config.set_live(actor=asker.actor, confirm=payload.confirm, reason=payload.reason)
    except AutopilotLiveRefused as refused:
        if not refused.blocks:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(refused)) from refused
        reasons = [reason(block.code, block.message) for block in refused.blocks]
        raise Refused(HTTPStatus.CONFLICT, "Not every lock is open. It stays on paper.", reasons=reasons) from refused
