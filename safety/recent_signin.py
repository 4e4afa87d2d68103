"""Asking for the password again before what matters most: arming live, releasing, changing limits, changing people.

Never before engaging the kill switch. In a view that is behind the admin's sign-in, outside any audit unit:

    asked = recent_signin.ask(request)
    if asked is not None:
        return asked

or ``@recent_sign_in_required`` around the view. A form that was sent without a recent sign-in is kept: it goes on as
it was typed once the password is right. Passwords in it are not kept; they have to be typed again.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth import authenticate
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.cache import add_never_cache_headers
from django.utils.http import escape_leading_slashes
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from audit.admin_base import SAFE_METHODS
from safety import second_factor, sign_in_audit, sign_in_throttle
from safety.sign_in_marks import WITHIN_S, note_sign_in, signed_in_recently

__all__ = ["CODE", "CodeForm", "ask", "recent_sign_in_required", "signed_in_recently"]


#: The fields of the page that asks. AXES_SENSITIVE_PARAMETERS names those that are secret.
ANSWERED, PASSWORD, CODE = "again_answered", "again_password", "again_code"
OWN_FIELDS = (ANSWERED, PASSWORD, CODE, "csrfmiddlewaretoken")
NOT_SECRET = ("usable_password",)
TEMPLATE = "admin/console/recent_signin.html"


class CodeForm(forms.Form):
    """Asks for a code of the second factor. ``auto_id`` keeps its fields apart from the page's other forms."""

    again_code = forms.CharField(
        label="Code",
        help_text="Six digits of your authenticator app, or a recovery code.",
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )


class PasswordForm(forms.Form):
    """Asks for the password of the person who is signed in."""

    again_password = forms.CharField(
        label="Your password",
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


class PasswordAndCodeForm(CodeForm, PasswordForm):
    """Asks for both."""

    field_order = ("again_password", "again_code")


@sensitive_variables()
def ask(request: HttpRequest, *, on_get: bool = True, within_s: int = WITHIN_S) -> HttpResponse | None:
    """Return None when the view may go on, else the answer to send: a page that asks for the password.

    With ``on_get`` False, pages may be looked at without. After a right answer ``request.POST`` is what was sent first.
    Raises PermissionDenied when nobody is signed in.
    """
    if not request.user.is_authenticated:
        raise PermissionDenied
    answered = request.POST.get(ANSWERED) if request.method == "POST" else None
    if answered is None:
        is_only_a_look = request.method in SAFE_METHODS and not on_get
        return None if is_only_a_look or signed_in_recently(request, within_s) else _page(request, "")
    if not signed_in_recently(request, within_s) and not _is_right(request):
        return _page(request, "That was not right. Type the password again" + _and_code(request))
    if answered in SAFE_METHODS:
        return HttpResponseRedirect(escape_leading_slashes(request.get_full_path()))
    posted = request.POST.copy()
    for name in OWN_FIELDS:
        posted.pop(name, None)
    request.POST = posted  # type: ignore[assignment]
    return None


def recent_sign_in_required(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``view(request, ...)`` be reached only with a recent sign-in, for a look as well."""

    @sensitive_post_parameters(PASSWORD, CODE)
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        asked = ask(request)
        return view(request, *args, **kwargs) if asked is None else asked

    return wrapped


@sensitive_variables()
def _is_right(request: HttpRequest) -> bool:
    """Return whether password and code are right. A wrong one is counted and audited as at the sign-in."""
    name, how = request.user.get_username(), "the password"
    user = authenticate(request, username=name, password=request.POST.get(PASSWORD, ""))
    is_right = user is not None and user.pk == request.user.pk
    if is_right and second_factor.is_on(user):
        used = second_factor.verify(user, request.POST.get(CODE, ""))
        is_right, how = bool(used), f"the password and {used}"
        if not is_right:
            sign_in_throttle.count_failure(request, name)
    if not is_right:
        sign_in_audit.record_failed(request, name)
        return False
    sign_in_throttle.forget_failures(request, name)
    sign_in_audit.record_signed_in(request, name, how, is_again=True)
    note_sign_in(request)
    return True


def _and_code(request: HttpRequest) -> str:
    return ", with a fresh code of your app." if second_factor.is_on(request.user) else "."


def _page(request: HttpRequest, problem: str) -> HttpResponse:
    sent = [(name, value) for name, values in request.POST.lists() for value in values if name not in OWN_FIELDS]
    kept = [(name, value) for name, value in sent if not _is_secret(name)]
    context = {
        **admin.site.each_context(request),
        "title": "Your password, please",
        "problem": problem,
        "form": PasswordAndCodeForm() if second_factor.is_on(request.user) else PasswordForm(),
        "answered": ANSWERED,
        # What the first request was: it goes on as that.
        "method": request.POST.get(ANSWERED, request.method),
        "kept": kept,
        "is_cut": any(value for name, value in sent if _is_secret(name)),
        "minutes": WITHIN_S // 60,
        "url": escape_leading_slashes(request.get_full_path()),
    }
    response = TemplateResponse(request, TEMPLATE, context)
    add_never_cache_headers(response)
    return response


def _is_secret(name: str) -> bool:
    return "password" in name.lower() and name not in NOT_SECRET
