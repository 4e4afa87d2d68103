"""Signing in and out: the password, then the code where the second factor is on. Each is an operator event."""

from dataclasses import dataclass
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth import REDIRECT_FIELD_NAME, login
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from safety import second_factor, sign_in_audit, sign_in_throttle
from safety.recent_signin import CODE, CodeForm
from safety.sign_in_marks import now_s

WAITING = "console_waits_for_code"
WAITING_S_MAX = 300
BACKEND = "django.contrib.auth.backends.ModelBackend"


class SignInView(LoginView):
    """The sign-in page. With a second factor, a right password leads on to the code and signs nobody in yet."""

    def form_valid(self, form: Any) -> HttpResponse:
        """Sign in, or ask for the code."""
        user = form.get_user()
        if not second_factor.is_on(user):
            return _finish(self.request, user, "the password", self.get_success_url())
        # Another person's session on this browser ends here.
        self.request.session.flush()
        self.request.session[WAITING] = {
            "user": user.pk,
            "hash": user.get_session_auth_hash(),
            "since": now_s(),
            "next": self.get_success_url(),
        }
        return HttpResponseRedirect(reverse("admin:console_login_code"))

    def form_invalid(self, form: Any) -> HttpResponse:
        """Show the form again, and record that somebody tried."""
        if form.data.get("username") and form.data.get("password"):
            sign_in_audit.record_failed(self.request, form.data["username"])
        return super().form_invalid(form)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Someone whose password was right, and where he wants to go."""

    user: User
    url: str


def sign_in(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Show the sign-in page or sign in, as the admin's own page does."""
    site = admin.site
    if request.method == "GET" and site.has_permission(request):
        return HttpResponseRedirect(reverse("admin:index"))
    context = {
        **site.each_context(request),
        "title": "Log in",
        "subtitle": None,
        "app_path": request.get_full_path(),
        "username": request.user.get_username(),
    }
    if REDIRECT_FIELD_NAME not in request.GET and REDIRECT_FIELD_NAME not in request.POST:
        context[REDIRECT_FIELD_NAME] = reverse("admin:index")
    view = SignInView.as_view(
        extra_context={**context, **(extra_context or {})},
        authentication_form=site.login_form,
        template_name="admin/login.html",
    )
    return cast(HttpResponse, view(request))


@never_cache
@sensitive_post_parameters(CODE)
def sign_in_code(request: HttpRequest) -> HttpResponse:
    """Ask for the code, and sign in when it is right."""
    waiting = _waiting(request)
    if waiting is None:
        request.session.pop(WAITING, None)
        messages.warning(request, "The sign-in took too long. Begin again with your password.")
        return HttpResponseRedirect(reverse("admin:login"))
    form = CodeForm(request.POST or None)
    name = waiting.user.get_username()
    if request.method == "POST" and form.is_valid() and not sign_in_throttle.is_locked(request, name):
        used = second_factor.verify(waiting.user, form.cleaned_data[CODE])
        if used:
            return _finish(request, waiting.user, f"the password and {used}", waiting.url)
        sign_in_throttle.count_failure(request, name)
        sign_in_audit.record_failed(request, name)
        form.add_error(
            CODE, "That was not right. Each code works once, and after a wrong one the next has to wait a little."
        )
    context = {**admin.site.each_context(request), "title": "Your code, please", "form": form}
    return TemplateResponse(request, "admin/login_code.html", context)


def sign_out(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """End the session, with an operator event."""
    if request.method == "POST" and request.user.is_authenticated:
        sign_in_audit.record_signed_out(request, request.user.get_username())
    return type(admin.site).logout(admin.site, request, extra_context)


def _finish(request: HttpRequest, user: User, how: str, url: str) -> HttpResponse:
    login(request, user, backend=BACKEND)
    sign_in_audit.record_signed_in(request, user.get_username(), how)
    response = HttpResponseRedirect(url)
    sign_in_throttle.remember_browser(response, user.get_username())
    return response


def _waiting(request: HttpRequest) -> Waiting | None:
    """Return who waits for his code: not for long, and not when his password or his rights changed meanwhile."""
    kept = request.session.get(WAITING)
    if not isinstance(kept, dict) or not 0 <= now_s() - int(kept["since"]) <= WAITING_S_MAX:
        return None
    user = User.objects.filter(pk=kept["user"], is_active=True, is_staff=True).first()
    if user is None or user.get_session_auth_hash() != kept["hash"]:
        return None
    return Waiting(user, str(kept["next"]))
