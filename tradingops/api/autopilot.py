"""The autopilot over the API: its settings, one cycle now, and what its scans think of each symbol."""

from http import HTTPStatus
from typing import Annotated, Any, Literal, Self

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field, StringConstraints, model_validator

from audit.decimals import decimal_text
from bots import autopilot_config
from bots.autopilot_config import AutopilotConfigError, AutopilotUnavailableError
from bots.models import AutopilotConfig, Recommendation
from safety.permissions import OPERATE_BOT, TRADE_LIVE
from tradingops.api.auth import caller_of
from tradingops.api.errors import REFUSALS, Refused
from tradingops.api.paging import Listing, PageIn, answer, page_of
from tradingops.api.values import DecimalText, Figure, Flag, Input, Output, Text, Time, WholeNumber, text_of

router = Router(tags=["autopilot"])
LISTING = Listing("recommendations")
Venues = Literal["replay", "kraken", "alpaca"]
AssetTypes = Literal["crypto", "stock"]
Symbol = Annotated[Text, StringConstraints(min_length=1, max_length=20)]
Percent = Annotated[Figure, Field(le=100, examples=["2"])]


class AutopilotOut(Output):
    """The autopilot's settings and how it is. It is off, and on paper, until a person says otherwise."""

    enabled: bool
    dry_run: bool = Field(description="Its bots trade on paper.")
    profile: str = Field(examples=["conservative"])
    universe: dict[str, list[str]] = Field(description="Symbols by venue.", examples=[{"replay": ["BTC-PERP"]}])
    asset_types: list[str] = Field(description="crypto, stock; none: both.")
    total_capital_usd: DecimalText = Field(description="What all its bots may have together, in USD.")
    is_by_conviction: bool = Field(description="A better score gets more of the capital.")
    slots: int = Field(description="How many bots it may have.")
    sector_slots: int = Field(description="How many of them in one sector; crypto is one.")
    score_min: int = Field(description="From this score on (0 to 100) a symbol may get a bot.")
    score_demote: int = Field(description="Below this score its bot is closed; in between it is watched.")
    cooldown_minutes: int = Field(description="How long a symbol is left alone after its bot was closed.")
    scan_interval_s: int
    daily_loss_pct: DecimalText = Field(
        description="Percent of total_capital_usd lost in a UTC day: no new bots that day."
    )
    weekly_loss_pct: DecimalText = Field(description="The same in a week from Monday.")
    auto_start: bool = Field(description="A new bot is started at once.")
    close_mode: str = Field(description="manage_out: no more entries, exits go on; flatten: all is sold at once.")
    heartbeat_at: Time | None = Field(description="When its last cycle ended; null: never.")
    decisions: list[dict[str, Any]] = Field(description="What the last cycle decided, and why.")


class AutopilotIn(Input):
    """What is to change; what is left out stays. A profile sets slots and scores, unless they are given beside it."""

    enabled: Flag | None = None
    dry_run: Flag | None = None
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
    reason: Text = Field("", max_length=500, description="Why. It is kept in the audit.")

    @model_validator(mode="after")
    def _no_symbol_twice(self) -> Self:
        """Refuse a symbol that stands twice: it would look like two chances."""
        for venue, symbols in (self.universe or {}).items():
            if len(set(symbols)) < len(symbols):
                raise ValueError(f"a symbol stands twice in the universe of {venue}")
        return self


class RecommendationIn(PageIn):
    """Which recommendations."""

    venue: Text | None = Field(None, max_length=20)
    symbol: Text | None = Field(None, max_length=20)


class RecommendationOut(Output):
    """What one scan thought of a symbol."""

    id: int
    venue: str
    symbol: str
    timeframe: str = Field(examples=["1m"])
    score: int = Field(description="0 to 100.")
    parts: dict[str, Any] = Field(description="What the score is made of.")
    regime: str
    confidence: DecimalText = Field(description="How sure the regime is, 0 to 1.")
    action: str = Field(description="trade_allowed, manage_only or no_trade.")
    reasons: list[Any]
    cost_bps: DecimalText | None = Field(description="What a trade would cost, in basis points.")
    scanned_at: Time


class RecommendationsOut(Output):
    """A page of recommendations, newest first."""

    items: list[RecommendationOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


@router.get("/autopilot", response={200: AutopilotOut, **REFUSALS}, summary="The autopilot's settings, and how it is")
def read_autopilot(request: HttpRequest) -> HttpResponse:
    """Return the settings, when the last cycle was, and what it decided."""
    caller_of(request).require("bots.view_autopilotconfig")
    return answer(_shown(autopilot_config.read()))


@router.patch("/autopilot", response={200: AutopilotOut, **REFUSALS}, summary="Change the autopilot's settings")
def change_autopilot(request: HttpRequest, payload: AutopilotIn) -> HttpResponse:
    """Change what is named. 409 while this version has no autopilot that could be switched on."""
    asker = caller_of(request)
    asker.require_live(*((OPERATE_BOT, TRADE_LIVE) if payload.dry_run is False else (OPERATE_BOT,)))
    wanted = payload.model_dump(exclude_unset=True, exclude={"reason"})
    try:
        return answer(_shown(autopilot_config.change(wanted, actor=asker.actor, reason=payload.reason)))
    except AutopilotConfigError as wrong:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(wrong)) from wrong
    except AutopilotUnavailableError as missing:
        raise Refused(HTTPStatus.CONFLICT, str(missing), code="autopilot_unavailable") from missing


@router.post("/autopilot/run", response={200: AutopilotOut, **REFUSALS}, summary="Run one cycle now")
def run_autopilot(request: HttpRequest) -> HttpResponse:
    """Run one cycle now and return what it decided. 409 while this version has no autopilot."""
    caller_of(request).require_live(OPERATE_BOT)
    raise Refused(HTTPStatus.CONFLICT, str(AutopilotUnavailableError()), code="autopilot_unavailable")


@router.get(
    "/recommendations", response={200: RecommendationsOut, **REFUSALS}, summary="What scans think of each symbol"
)
def read_recommendations(request: HttpRequest, asked: Query[RecommendationIn]) -> HttpResponse:
    """Return a page of recommendations, newest first."""
    caller_of(request).require("bots.view_recommendation")
    named = {"venue": asked.venue, "symbol": asked.symbol}
    rows = Recommendation.objects.filter(**{name: value for name, value in named.items() if value is not None})
    found, cursor = page_of(rows, LISTING, asked)
    return answer(RecommendationsOut(items=[_recommended(one) for one in found], next=cursor))


def _shown(config: AutopilotConfig) -> AutopilotOut:
    return AutopilotOut(
        enabled=config.enabled,
        dry_run=config.dry_run,
        profile=config.profile,
        universe=config.universe,
        asset_types=config.asset_types,
        total_capital_usd=decimal_text(config.total_capital_usd),
        is_by_conviction=config.is_by_conviction,
        slots=config.slots,
        sector_slots=config.sector_slots,
        score_min=config.score_min,
        score_demote=config.score_demote,
        cooldown_minutes=config.cooldown_minutes,
        scan_interval_s=config.scan_interval_s,
        daily_loss_pct=decimal_text(config.daily_loss_pct),
        weekly_loss_pct=decimal_text(config.weekly_loss_pct),
        auto_start=config.auto_start,
        close_mode=config.close_mode,
        heartbeat_at=None,
        decisions=[],
    )


def _recommended(row: Recommendation) -> RecommendationOut:
    return RecommendationOut(
        id=row.pk,
        venue=row.venue,
        symbol=row.symbol,
        timeframe=row.timeframe,
        score=row.score,
        parts=row.parts,
        regime=row.regime,
        confidence=decimal_text(row.confidence),
        action=row.action,
        reasons=row.reasons,
        cost_bps=text_of(row.cost_bps),
        scanned_at=row.scanned_at,
    )
