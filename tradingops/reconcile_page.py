"""Reconciliation: our books beside what each venue shows, what is open between them, and settling it by hand."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from audit.admin_base import actor_of, ok_or_login
from audit.decimals import decimal_text
from bots.models import Difference, DifferenceKind
from bots.reconciliation import queries, share_changes, turns, vanished
from bots.reconciliation.balances import Standing, settled
from bots.reconciliation.differences import ACCEPTED, FIGURES
from bots.reconciliation.settling import Seen, SettleError, settle
from safety.permissions import CLEAR_HOLDS, OPERATE_BOT
from safety.recent_signin import CODE, PASSWORD, ask

SEE = "bots.view_account"
PAGE = "admin:console_reconciliation"
REASON_CHARS_MAX = 500
ID_MAX = 2**63
#: What each kind of difference means, and what usually lies behind it.
MEANINGS = {
    DifferenceKind.SHORTAGE: (
        "The venue has less than ought to be there. Usually somebody sold or withdrew it outside of this console, or the venue "
        "took a fee that it has not listed."
    ),
    DifferenceKind.SURPLUS: (
        "The venue has more than ought to be there, and lists nothing that explains it. Often it is a deposit or a reward "
        "that is not in its lists yet; then this closes by itself."
    ),
    DifferenceKind.ORDER: (
        "The venue has an order under one of our ids that is not the one we wanted. Look at it there: it may belong to a "
        "second console on the same account."
    ),
    DifferenceKind.OVERSOLD: (
        "More was sold than the bot's book held. The fill is booked and the book stands at zero; what was sold beyond that "
        "was the owner's."
    ),
    DifferenceKind.SHARES: (
        "The company changed its shares: each became more or fewer, or another's. The account holds what it says; the books of "
        "the bots still count as before. Until you decide the bots decide nothing by those figures: no purchase, and no sale "
        "of their own. Yours and a flatten's go on. Their resting orders are cancelled, since their prices are from before."
    ),
}


class SettleForm(forms.Form):
    """Why a difference is settled, with both sides as the person saw them."""

    seen = forms.CharField(required=False, max_length=250, widget=forms.HiddenInput)
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_CHARS_MAX,
        help_text="What you found out, and where. It is kept in the operator events with your name.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    leaves_books = forms.BooleanField(
        label="Leave the bots' books as they are",
        required=False,
        help_text="Only if the shares that came are yours, or if you have put the books right already.",
        widget=UnfoldBooleanSwitchWidget,
    )

    def clean_seen(self) -> Seen | None:
        """Return what was seen, or None where there are no figures, as for an order."""
        texts = self.cleaned_data["seen"].split()
        try:
            figures = [Decimal(text) for text in texts]
        except InvalidOperation:
            figures = []
        if len(figures) != len(texts) or len(figures) not in (0, 3) or not all(one.is_finite() for one in figures):
            raise forms.ValidationError("The figures of the page were changed on their way. Load the page again.")
        return Seen(*figures) if figures else None


@dataclass(frozen=True, slots=True)
class Consequence:
    """What accepting the venue's figure of an asset would do: the owner's part, and what our books hold, before and after."""

    before: Standing
    after: Standing

    @property
    def written_off(self) -> Decimal:
        """Return what our books would lose, in units of the asset."""
        return self.before.held - self.after.held


def reconcile_page(request: HttpRequest) -> HttpResponse:
    """Show both sides of every account. A POST asks the workers for a round at once; it changes no figure."""
    if not request.user.has_perm(SEE):
        raise PermissionDenied
    if request.method == "POST":
        return _compare_now(request)
    context = {**admin.site.each_context(request), "title": "Reconciliation", **_live_context(request)}
    return TemplateResponse(request, "admin/reconciliation/page.html", context)


def reconcile_part(request: HttpRequest) -> HttpResponse:
    """Answer with the moving part of the page."""
    refused = ok_or_login(request, SEE)
    return render(request, "admin/reconciliation/live.html", _live_context(request)) if refused is None else refused


@sensitive_post_parameters(PASSWORD, CODE)
def settle_page(request: HttpRequest, difference_id: int) -> HttpResponse:
    """Show what accepting the venue's figure would do, and on a POST with a reason do it. Asks for a recent sign-in."""
    if not request.user.has_perm(CLEAR_HOLDS):
        raise PermissionDenied
    asked = ask(request)
    if asked is not None:
        return asked
    if difference_id >= ID_MAX:
        raise Http404
    difference = get_object_or_404(Difference.objects.select_related("account"), pk=difference_id)
    form = SettleForm(request.POST or None, initial={"seen": _seen(difference)})
    if request.method == "POST" and form.is_valid():
        try:
            return _settle(request, difference, form)
        except SettleError as refused:
            # What is sent again has to be what is shown now.
            difference.refresh_from_db()
            again = {name: form.cleaned_data[name] for name in ("reason", "leaves_books")}
            form = SettleForm({**again, "seen": _seen(difference)})
            form.add_error(None, str(refused))
    context = admin.site.each_context(request) | {
        "title": "Settle a difference",
        "difference": difference,
        "meaning": vanished.MEANING if vanished.is_about(difference) else MEANINGS[DifferenceKind(difference.kind)],
        "is_gone": vanished.is_about(difference),
        "is_figure": difference.kind in FIGURES,
        "consequence": _consequence(difference),
        "is_shares": difference.kind == DifferenceKind.SHARES,
        "offer": share_changes.offer(difference) if difference.kind == DifferenceKind.SHARES else None,
        "form": form,
        "now": timezone.now(),
    }
    return TemplateResponse(request, "admin/reconciliation/settle.html", context)


def _settle(request: HttpRequest, difference: Difference, form: SettleForm) -> HttpResponse:
    done = settle(
        difference.pk,
        actor=actor_of(request),
        reason=form.cleaned_data["reason"],
        seen=form.cleaned_data["seen"],
        leaves_books=form.cleaned_data["leaves_books"],
    )
    what = "accepted: entries in it go on" if done.outcome == ACCEPTED else "taken note of"
    messages.success(
        request, f"The difference about {done.asset or done.symbol} is {what}, unless something else is open."
    )
    return HttpResponseRedirect(reverse(PAGE))


def _compare_now(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm(OPERATE_BOT):
        raise PermissionDenied
    for one in queries.overview():
        turns.want(one.venue, is_live=one.is_live, by="person")
    messages.success(request, "A worker compares the accounts within seconds; this page shows what it finds.")
    return HttpResponseRedirect(reverse(PAGE))


def _live_context(request: HttpRequest) -> dict[str, Any]:
    accounts = queries.overview()
    return {
        "now": timezone.now(),
        "accounts": accounts,
        "may_settle": request.user.has_perm(CLEAR_HOLDS),
        "may_ask": request.user.has_perm(OPERATE_BOT),
    }


def _consequence(difference: Difference) -> Consequence | None:
    """Return what accepting the figure would do, or None for a difference that is about no figure."""
    if difference.kind not in FIGURES:
        return None
    venue, expected, held, flows = difference.venue, difference.expected, difference.held, difference.flows
    if venue is None or expected is None or held is None or flows is None:
        return None
    before = Standing(difference.asset, venue, expected - held - flows, held, flows)
    return Consequence(before, settled(before))


def _seen(difference: Difference) -> str:
    """Return what the page sends back of both sides."""
    seen = Seen.of(difference)
    return "" if seen is None else " ".join(decimal_text(one) for one in (seen.venue, seen.expected, seen.held))
