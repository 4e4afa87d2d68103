"""Setup: a bot in four plain steps, always on paper. What was typed is kept in the session, also on the way back."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from audit.admin_base import actor_of
from bots import manager
from bots.admin.forms import FIRST_VALUES
from bots.admin.limit_texts import leg_lines, limit_lines, rounded_up
from bots.admin.setup_forms import STEPS, TITLES, Draft, MarketForm, MoneyForm, StrategyForm
from bots.ladder import Funds, check_ladder
from bots.market_data.base import MarketDataError
from bots.markets import market_for
from bots.models import Bot
from bots.strategies import registry
from bots.strategies.base import Strategy
from bots.strategies.schema import ParamError
from safety.intents import LimitSet
from safety.limits import LimitBook
from safety.permissions import OPERATE_BOT

ADD_BOT = "bots.add_bot"
TYPED_CHARS_MAX = 200
TEMPLATES = {step: f"admin/bots/setup/{step}.html" for step in STEPS}


def setup_page(request: HttpRequest, step: str = STEPS[0]) -> HttpResponse:
    """Show one step, or take what was typed in it and go on, or back. Only the last step makes a bot."""
    if not request.user.has_perm(ADD_BOT):
        raise PermissionDenied
    if step not in STEPS:
        raise Http404
    draft = Draft.load(request)
    if STEPS.index(step) > STEPS.index(draft.open_step()):
        return _to(draft.open_step())
    if request.method == "POST":
        return _take(request, draft, step)
    return _show(request, draft, step, _form(draft, step))


def _take(request: HttpRequest, draft: Draft, step: str) -> HttpResponse:
    """Keep what was typed in this step, and go where the button leads. What is wrong is shown in the step itself."""
    if step == "review":
        return _make(request, draft)
    form = _form(draft, step, request)
    _keep(request, draft, step, form)
    if "back" in request.POST:
        return _to(STEPS[STEPS.index(step) - 1])
    if form is not None and form.is_valid():
        return _to(STEPS[STEPS.index(step) + 1])
    return _show(request, draft, step, form)


def _keep(request: HttpRequest, draft: Draft, step: str, form: Any) -> None:
    """Put what was typed into the draft, right or wrong; a wrong market or strategy is not kept."""
    if step == "market":
        draft.market = form.cleaned_data["market"] if form.is_valid() else draft.market
    elif step == "strategy":
        draft.strategy = form.cleaned_data["strategy"] if form.is_valid() else draft.strategy
    else:
        names = MoneyForm(strategy=registry.get(draft.strategy), venue=draft.venue).fields
        draft.typed[draft.strategy] = {
            name: request.POST[name][:TYPED_CHARS_MAX] for name in names if name in request.POST
        }
    draft.save(request)


def _form(draft: Draft, step: str, request: HttpRequest | None = None) -> Any:
    """Return a step's form, with what is in the request or else in the draft."""
    data = None if request is None else request.POST
    if step == "market":
        return MarketForm(data, initial={"market": draft.market})
    if step == "strategy":
        return StrategyForm(data, initial={"strategy": draft.strategy})
    if step == "money" and data is not None:
        return MoneyForm(data, strategy=registry.get(draft.strategy), venue=draft.venue)
    return draft.money_form()


def _show(request: HttpRequest, draft: Draft, step: str, form: Any) -> HttpResponse:
    number = STEPS.index(step)
    context = {
        **admin.site.each_context(request),
        "title": "Set up a bot",
        "step": step,
        "number": number + 1,
        "steps": [{"key": one, "title": TITLES[one], "is_done": at < number} for at, one in enumerate(STEPS)],
        "step_title": TITLES[step],
        "draft": draft,
        "form": form,
        **_more(request, draft, step, form),
    }
    return TemplateResponse(request, TEMPLATES[step], context)


def _more(request: HttpRequest, draft: Draft, step: str, form: Any) -> dict[str, Any]:
    """Return what one step shows beside its form."""
    if step == "market":
        return {"silent": form.offer.silent}
    if step == "strategy":
        capital = _capital(draft)
        return {"capital": capital, "choices": [_choice(one, draft, capital) for one in registry.all()]}
    if step == "money":
        return {"strategy": registry.get(draft.strategy)}
    return _review(request, draft, form)


def _choice(strategy: Strategy, draft: Draft, capital: Decimal) -> dict[str, Any]:
    """Return a strategy with what it may lose at most, at its usual settings."""
    worst = rounded_up(strategy.worst_case(strategy.schema.defaults(), capital))
    return {"strategy": strategy, "worst": worst, "is_chosen": strategy.key == draft.strategy}


def _capital(draft: Draft) -> Decimal:
    """Return the capital that was typed before, or the usual one."""
    for typed in (draft.of_strategy.get("capital_usd", ""), FIRST_VALUES["capital_usd"]):
        try:
            value = Decimal(str(typed))
        except InvalidOperation:
            continue
        if value.is_finite() and value > 0:
            return value
    return Decimal(0)


def _review(request: HttpRequest, draft: Draft, form: MoneyForm) -> dict[str, Any]:
    """Return all that the bot will be, and what the controls say to each purchase that it may come to make."""
    form.is_valid()
    new = form.new_bot_for(draft.venue, draft.symbol)
    params = form.strategy.schema.clean(form.params)
    limits = LimitBook.read([]).for_bot(0, is_live=False)
    return {
        "new": new,
        "strategy": form.strategy,
        "worst": rounded_up(form.strategy.worst_case(params, new.capital_usd)),
        "params": [(field.label, form.cleaned_data.get(field.name)) for field in form.param_fields()],
        "limits": limit_lines(limits, new.capital_usd),
        "may_start": request.user.has_perm(OPERATE_BOT),
        **_ladder(new, limits),
    }


def _ladder(new: manager.NewBot, limits: LimitSet) -> dict[str, Any]:
    """Return what the controls say to every purchase of one deal, on the paper account that the bot will have."""
    now = timezone.now()
    try:
        market = market_for(new.venue, new.symbol, now)
    except MarketDataError as error:
        return {"legs": (), "legs_problem": str(error)}
    planned = Bot(
        venue=new.venue, symbol=new.symbol, strategy=new.strategy, params=new.params, capital_usd=new.capital_usd
    )
    legs = check_ladder(planned, market, limits, Funds(new.paper_equity_usd), is_live=False, now=now)
    return {"legs": leg_lines(legs), "denied": leg_lines(one for one in legs if not one.passes)}


def _make(request: HttpRequest, draft: Draft) -> HttpResponse:
    """Make the bot, on paper, and start it when that was asked for."""
    if "back" in request.POST:
        return _to("money")
    form = draft.money_form()
    form.is_valid()
    actor = actor_of(request)
    try:
        bot = manager.create(form.new_bot_for(draft.venue, draft.symbol), actor=actor)
    except (manager.BotActionError, ParamError, IntegrityError) as error:
        refused = "Another bot took the name just now." if isinstance(error, IntegrityError) else str(error)
        messages.error(request, f"Nothing was made: {refused}")
        return _to("money")
    Draft.drop(request)
    if "start" in request.POST and request.user.has_perm(OPERATE_BOT):
        manager.start(bot.pk, actor=actor)
        messages.success(
            request, f"{bot.name} was made, on paper, and is running. Its first tick follows within seconds."
        )
    else:
        messages.success(request, f"{bot.name} was made, on paper. Press Start when you want it to trade.")
    return HttpResponseRedirect(reverse("admin:bots_bot_change", args=[bot.pk]))


def _to(step: str) -> HttpResponse:
    if step == STEPS[0]:
        return HttpResponseRedirect(reverse("admin:console_setup"))
    return HttpResponseRedirect(reverse("admin:console_setup_step", args=[step]))
