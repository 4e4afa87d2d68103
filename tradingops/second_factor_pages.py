"""The page on which people turn their own second factor on and off, and the one on which a superuser resets another's."""

from typing import Any

import segno
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.cache import add_never_cache_headers

from audit.admin_base import actor_of
from safety import recent_signin, second_factor
from safety.recent_signin import CodeForm
from safety.sign_in_marks import WITHIN_S

REASON_CHARS_MAX = 500
#: For what must not be done from an unlocked screen, however lately its owner signed in.
ALWAYS = -1
QR_SCALE = 5


def own_page(request: HttpRequest) -> HttpResponse:
    """Show whether the second factor is on; turn it on or off, or make new recovery codes."""
    if request.method != "POST":
        return _page(request)
    wanted = request.POST.get("do", "")
    asked = recent_signin.ask(request, within_s=ALWAYS if wanted in ("off", "codes") else WITHIN_S)
    if asked is not None:
        return asked
    does = {"start": _start, "confirm": _confirm, "codes": _codes, "off": _off}.get(wanted)
    return HttpResponseRedirect(request.path) if does is None else does(request)


def reset_page(request: HttpRequest, user_id: int) -> HttpResponse:
    """Ask, then turn another person's second factor off."""
    if not request.user.is_superuser:
        raise PermissionDenied
    user = get_object_or_404(User, pk=user_id)
    asked = recent_signin.ask(request, on_get=False, within_s=ALWAYS)
    if asked is not None:
        return asked
    back = reverse("admin:auth_user_change", args=[user.pk])
    if request.method == "POST":
        reason = request.POST.get("reason", "").strip()[:REASON_CHARS_MAX]
        if second_factor.turn_off(user, actor=actor_of(request), reason=reason):
            messages.success(request, f"{user} signs in with the password alone from now on.")
        return HttpResponseRedirect(back)
    context = {
        **admin.site.each_context(request),
        "title": "Reset a second factor",
        "person": user,
        "back": back,
        "is_on": second_factor.is_on(user),
    }
    return TemplateResponse(request, "admin/console/second_factor_reset.html", context)


def _start(request: HttpRequest) -> HttpResponse:
    if not second_factor.is_on(request.user):
        second_factor.start(request.user)
    return HttpResponseRedirect(request.path)


def _confirm(request: HttpRequest) -> HttpResponse:
    form = _first_code(request.POST)
    if form.is_valid():
        codes = second_factor.confirm(request.user, form.cleaned_data["again_code"], actor=actor_of(request))
        if codes is not None:
            return _page(request, codes=codes)
        form.add_error(
            "again_code", "That was not right. Wait for the app's next code; the phone's clock has to be right."
        )
    return _page(request, form=form)


def _codes(request: HttpRequest) -> HttpResponse:
    if not second_factor.is_on(request.user):
        return HttpResponseRedirect(request.path)
    return _page(request, codes=second_factor.new_recovery_codes(request.user, actor=actor_of(request)))


def _off(request: HttpRequest) -> HttpResponse:
    if second_factor.turn_off(request.user, actor=actor_of(request)):
        messages.success(request, "The second factor is off. Your password alone signs you in.")
    return HttpResponseRedirect(request.path)


def _first_code(data: Any = None) -> CodeForm:
    """Return the form for the first code. There are no recovery codes yet."""
    form = CodeForm(data)
    form.fields["again_code"].help_text = "Six digits of your authenticator app."
    return form


def _page(request: HttpRequest, *, codes: list[str] | None = None, form: CodeForm | None = None) -> HttpResponse:
    is_on = second_factor.is_on(request.user)
    device = None if is_on else second_factor.waiting(request.user)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Second factor",
        "is_on": is_on,
        "codes": codes,
        "codes_left": second_factor.recovery_codes_left(request.user) if is_on else 0,
    }
    if device is not None:
        picture = segno.make(device.config_url, error="m")
        context |= {
            "qr": picture.svg_data_uri(scale=QR_SCALE, light="white", border=4),
            "key": second_factor.key_shown(device),
            "url": device.config_url,
            "form": form or _first_code(),
        }
    response = TemplateResponse(request, "admin/console/second_factor.html", context)
    add_never_cache_headers(response)
    return response
