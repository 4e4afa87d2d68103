"""The page that switches a venue's dead-man switch on or off: what it does is said before, and a reason is kept."""

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from unfold.widgets import UnfoldAdminTextInputWidget

from audit.admin_base import actor_of
from bots import dead_man
from safety.permissions import CHANGE_LIMITS
from safety.recent_signin import CODE, PASSWORD, ask


class DeadManForm(forms.Form):
    """Which way to turn the switch, and why. What the page offered is sent along, so that a second click changes nothing back."""

    wanted = forms.TypedChoiceField(
        choices=[("1", "on"), ("0", "off")], coerce=lambda text: text == "1", widget=forms.HiddenInput
    )
    reason = forms.CharField(
        label="Reason",
        max_length=dead_man.REASON_CHARS_MAX,
        help_text="Why. It is kept in the operator events.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )


@sensitive_post_parameters(PASSWORD, CODE)
def dead_man_page(request: HttpRequest) -> HttpResponse:
    """Say what the switch of an account does, and on a POST with a reason turn it. Asks for a recent sign-in."""
    if not request.user.has_perm(CHANGE_LIMITS):
        raise PermissionDenied
    asked = ask(request)
    if asked is not None:
        return asked
    account = request.GET.get("account", "")
    switch = next((one for one in dead_man.views(timezone.now()) if one.account == account), None)
    if switch is None:
        raise Http404
    form = DeadManForm(request.POST or None, initial={"wanted": "0" if switch.is_wanted else "1"})
    if request.method == "POST" and form.is_valid():
        try:
            return _turn(request, account, form)
        except dead_man.DeadManError as refused:
            form.add_error("reason", str(refused))
    context = admin.site.each_context(request) | {
        "title": "Dead-man switch",
        "switch": switch,
        "form": form,
        "timeout_s": dead_man.TIMEOUT_S,
    }
    return TemplateResponse(request, "admin/safety/dead_man_form.html", context)


def _turn(request: HttpRequest, account: str, form: DeadManForm) -> HttpResponse:
    wanted = form.cleaned_data["wanted"]
    dead_man.set_wanted(account, wanted, actor=actor_of(request), reason=form.cleaned_data["reason"])
    said = (
        "is wanted now: the workers wind it up while orders of ours rest"
        if wanted
        else "is switched off by the workers now"
    )
    messages.warning(request, f"The dead-man switch of {account} {said}. Its line below says how it stands.")
    return HttpResponseRedirect(f"{reverse('admin:console_safety')}#dead-man")
