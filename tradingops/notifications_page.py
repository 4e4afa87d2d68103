"""Safety, Notifications: how each channel does, what was sent, what was given up, and the preferences."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from audit.admin_base import actor_of, ok_or_login
from safety.notifications import acts, prefs, reading, trial
from safety.notifications.outcomes import DeliveryState, Outcome
from safety.notifications.wording import heading
from safety.permissions import CHANGE_NOTIFICATIONS
from tradingops.notification_forms import PrefsForm
from tradingops.notification_lines import channel_lines, heartbeat_line, message_line, name_of
from tradingops.urgent import READ_MAX, together

SEE = "safety.view_notification"
PAGE = "admin:console_notifications"
MESSAGES_SHOWN, DEAD_SHOWN, TOLD_SHOWN = 20, 20, 15
#: Equal ones are shown as one: more are read than are shown.
TOLD_READ = 150
#: The largest id there can be has 19 digits.
ID_DIGITS_MAX = 18
WORSE = {DeliveryState.REFUSED, DeliveryState.TRY_AGAIN}

Act = Callable[[HttpRequest], HttpResponse]


def notifications_page(request: HttpRequest) -> HttpResponse:
    """Show the page; a POST saves the preferences, with a reason."""
    if not request.user.has_perm(SEE):
        raise PermissionDenied
    may_change = request.user.has_perm(CHANGE_NOTIFICATIONS)
    if request.method != "POST":
        return _show(request, PrefsForm(found=prefs.read()) if may_change else None)
    if not may_change:
        raise PermissionDenied
    form = PrefsForm(request.POST, found=prefs.read())
    return _save(request, form) if form.is_valid() else _show(request, form)


def notifications_part(request: HttpRequest) -> HttpResponse:
    """Answer with the moving part of the page."""
    refused = ok_or_login(request, SEE)
    return render(request, "admin/notifications/live.html", _live_context(request)) if refused is None else refused


def _show(request: HttpRequest, form: PrefsForm | None) -> HttpResponse:
    wanted = prefs.read()
    context = admin.site.each_context(request) | {
        "title": "Notifications",
        "form": form,
        "prefs": wanted,
        "events_off": [heading(name) for name, is_on in prefs.events_of(wanted).items() if not is_on],
        **_live_context(request),
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form is not None and form.is_bound else HTTPStatus.OK
    return TemplateResponse(request, "admin/notifications/page.html", context, status=status)


def _save(request: HttpRequest, form: PrefsForm) -> HttpResponse:
    wanted = form.change()
    if wanted is None:
        messages.info(request, "Nothing was changed: the preferences are as they were shown.")
        return _to_page("preferences")
    try:
        prefs.change(wanted, actor=actor_of(request), reason=form.cleaned_data["reason"])
    except prefs.PrefsError as refused:
        form.add_error(None, str(refused))
        return _show(request, form)
    messages.success(request, "The preferences are saved. They hold from now on; what was sent already was sent.")
    return _to_page("preferences")


def _live_context(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    dead = reading.dead(DEAD_SHOWN)
    lines = channel_lines(now)
    return {
        "now": now,
        "channels": [*lines, heartbeat_line(now)],
        "dead": [message_line(one, now) for one in dead],
        "dead_count": max(len(dead), sum(one.view.dead for one in lines)),
        "deliveries": [message_line(one, now) for one in reading.recent_deliveries(MESSAGES_SHOWN)],
        "told": together(reading.recent(TOLD_READ))[:TOLD_SHOWN],
        "unplanned": reading.unplanned_count(),
        "may_change": request.user.has_perm(CHANGE_NOTIFICATIONS),
    }


def _post(act: Act) -> Act:
    """Let an act be reached by a POST of someone who may change notifications; a look leads to the page."""

    @wraps(act)
    def guarded(request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm(CHANGE_NOTIFICATIONS):
            raise PermissionDenied
        if request.method != "POST":
            return _to_page() if request.method == "GET" else HttpResponseNotAllowed(["POST"])
        return act(request)

    return guarded


@_post
def send_test(request: HttpRequest) -> HttpResponse:
    """Send a test message through every channel now, and say what each channel answered."""
    for one in trial.send_test(actor=actor_of(request)):
        _tell(request, one)
    return _to_page("channels")


@_post
def retry(request: HttpRequest) -> HttpResponse:
    """Let one message that was given up be tried again."""
    number = next(iter(_numbers(request, "delivery")), 0)
    if acts.retry(number, actor=actor_of(request)):
        messages.success(request, "It is tried again within seconds. Below you see what becomes of it.")
    else:
        messages.info(request, "It was not waiting for that any more: somebody tried it again already.")
    return _to_page("messages")


@_post
def retry_all(request: HttpRequest) -> HttpResponse:
    """Let every message that was given up be tried again."""
    count = acts.retry_all_dead(actor=actor_of(request))
    if count:
        messages.success(request, f"{_counted(count)} tried again within seconds. Below you see what becomes of them.")
    else:
        messages.info(request, "No message was given up: there is nothing to try again.")
    return _to_page("messages")


@_post
def seen(request: HttpRequest) -> HttpResponse:
    """Mark urgent notifications as seen: those that the page had shown, and none that came since."""
    count = acts.see(_numbers(request, "notification"), actor=actor_of(request))
    if count:
        messages.success(request, f"Marked as seen: {count}. The operator events keep who did it.")
    else:
        messages.info(request, "Somebody has marked it as seen already.")
    return HttpResponseRedirect(reverse("admin:console_safety"))


def _numbers(request: HttpRequest, name: str) -> list[int]:
    """Return the ids that a form of the page carries; what no row can have is left out."""
    sent = request.POST.getlist(name)[:READ_MAX]
    return [int(one) for one in sent if one.isascii() and one.isdecimal() and len(one) <= ID_DIGITS_MAX]


def _tell(request: HttpRequest, outcome: Outcome) -> None:
    """Say what one channel made of the test message."""
    text = f"{name_of(outcome.channel)}: {outcome.detail}"
    if outcome.is_delivered:
        messages.success(request, text)
    elif outcome.state in WORSE:
        messages.error(request, text)
    else:
        messages.info(request, text)


def _counted(count: int) -> str:
    return "1 message is" if count == 1 else f"{count} messages are"


def _to_page(anchor: str = "") -> HttpResponse:
    return HttpResponseRedirect(f"{reverse(PAGE)}{f'#{anchor}' if anchor else ''}")


def note_acts() -> dict[str, Act]:
    """Return the acts by the last part of their address."""
    return {"test": send_test, "retry": retry, "retry-all": retry_all, "seen": seen}
