"""The pages of the API's scoped tokens: who has one, making one (its text is shown once), and revoking one with one click."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import VERTICAL
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_protect
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from audit.admin_base import SAFE_METHODS, ReadOnlyModelAdmin, actor_of, display
from safety import api_tokens, recent_signin
from safety.api_models import ApiToken
from safety.api_scopes import Scope, rights_of
from safety.permissions import MANAGE_TOKENS

REASON_CHARS_MAX = 500
NEVER = "never"
LIVES = (
    ("1", "1 day"),
    ("7", "7 days"),
    ("30", "30 days"),
    ("90", "90 days"),
    ("365", "1 year"),
    (NEVER, "never: only where nobody could renew it in time"),
)
#: Short, since the page cuts longer ones; the rest is said below them.
MEANINGS = {
    Scope.READ: "read: look only",
    Scope.ENGAGE: "engage: and halt trading",
    Scope.OPERATE: "operate: and run paper bots",
    Scope.TRADE: "trade: and trade live",
}
STATES = {"Works": "success", "Expired": "warning", "Stopped": "warning", "Revoked": "danger"}


class TokenForm(forms.Form):
    """What a new token is for, and what it may do."""

    name = forms.CharField(
        label="Name",
        max_length=60,
        help_text="Which program it is for. The audit names the token by it: api:token:NAME.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    scope = forms.ChoiceField(
        label="It may",
        help_text=(
            "Each may what the ones above it may. Operate also changes what is sent to people. Trade sets bots live and sends"
            " live orders: keep it like a venue's key. None releases."
        ),
        widget=UnfoldAdminRadioSelectWidget(radio_style=VERTICAL),
    )
    life = forms.ChoiceField(label="It expires after", choices=LIVES, widget=UnfoldAdminSelectWidget())
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_CHARS_MAX,
        help_text="What it is for. It is kept in the operator events.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, maker: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Nobody gives a token more than he may do himself.
        offered = [one for one in Scope if all(maker.has_perm(right) for right in rights_of(one))]
        self.fields["scope"].choices = [(one.value, MEANINGS[one]) for one in offered]  # type: ignore[attr-defined]
        self.initial = {"scope": Scope.READ.value, "life": str(api_tokens.LIFE.days), **self.initial}

    def life_chosen(self) -> timedelta | None:
        """Return how long the token lives, None for ever."""
        chosen = self.cleaned_data["life"]
        return None if chosen == NEVER else timedelta(days=int(chosen))


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyModelAdmin):
    """Tokens with a scope. Nothing of one is ever changed; its hash is on no page."""

    list_display: Any = ("name", "scope", "prefix_shown", "made", "last_used", "expires", "state")
    list_per_page = 50
    sortable_by = ()
    fields = ("name", "scope", "prefix_shown", "made", "last_used", "expires", "how_it_stands")
    readonly_fields = ("prefix_shown", "made", "last_used", "expires", "how_it_stands")
    change_form_outer_before_template = "admin/safety/token_revoke.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the pages, with the address that revokes."""
        revoke = self.admin_site.admin_view(self.revoke_view)
        return [path("<int:object_id>/revoke/", revoke, name="safety_apitoken_revoke"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """Return the tokens, each maker once: his rights are looked up for every token otherwise."""
        found: QuerySet[ApiToken] = super().get_queryset(request)
        return found.prefetch_related("made_by")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Tokens are made by whoever has the right to."""
        return request.user.has_perm(MANAGE_TOKENS)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the columns, with the buttons for whoever may revoke."""
        return (*self.list_display, "revoke_button") if request.user.has_perm(MANAGE_TOKENS) else self.list_display

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """Show a token, with the button that revokes it."""
        may_revoke = request.user.has_perm(MANAGE_TOKENS)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "may_revoke": may_revoke})

    @method_decorator(csrf_protect)
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Show the form, or make a token with a recent sign-in and show its text this once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method in SAFE_METHODS:
            return self._form_page(request, TokenForm(maker=request.user))
        asked = recent_signin.ask(request)
        if asked is not None:
            return asked
        form = TokenForm(request.POST, maker=request.user)
        if not form.is_valid():
            return self._form_page(request, form)
        chosen = form.cleaned_data
        try:
            token, text = api_tokens.make(
                chosen["name"], Scope(chosen["scope"]), form.life_chosen(), maker=request.user, reason=chosen["reason"],
                now=timezone.now(),
            )  # fmt: skip
        except api_tokens.TokenError as refused:
            form.add_error("name", str(refused))
            return self._form_page(request, form)
        return self._page(request, "admin/safety/token_made.html", token=token, text=text)

    @method_decorator(csrf_protect)
    def revoke_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """End a token. It takes no password: what it does can only make things safer."""
        if not request.user.has_perm(MANAGE_TOKENS):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        token = get_object_or_404(ApiToken, pk=object_id)
        if api_tokens.revoke(token, actor=actor_of(request), now=timezone.now()):
            messages.success(request, f"The token {token.name} is revoked. Nobody gets in with it any more.")
        else:
            messages.info(request, f"The token {token.name} was revoked before.")
        return HttpResponseRedirect(reverse("admin:safety_apitoken_changelist"))

    def _form_page(self, request: HttpRequest, form: TokenForm) -> HttpResponse:
        return self._page(request, "admin/safety/token_add.html", form=form)

    def _page(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        own = {"title": "New API token", "opts": self.opts, **context}
        response = TemplateResponse(request, template, {**self.admin_site.each_context(request), **own})
        # The text of a token must be in no cache, and the page of one not be there for whoever goes back.
        add_never_cache_headers(response)
        return response

    @display(description="Begins with")
    def prefix_shown(self, token: ApiToken) -> SafeString:
        """Return what the token's text begins with."""
        return format_html('<code class="tc-wrap">top_{}_…</code>', token.prefix)

    @display(description="Made")
    def made(self, token: ApiToken) -> str:
        """Return when and by whom it was made."""
        return f"{_utc(token.made_at)} by {token.made_by}"

    @display(description="Last used")
    def last_used(self, token: ApiToken) -> str:
        """Return when it was last used, to the minute."""
        return "never" if token.last_used_at is None else _utc(token.last_used_at)

    @display(description="Expires")
    def expires(self, token: ApiToken) -> str:
        """Return when it ends by itself."""
        return "never" if token.expires_at is None else _utc(token.expires_at)

    @display(description="State", label=STATES)
    def state(self, token: ApiToken) -> str:
        """Return whether it works."""
        return (api_tokens.why_dead(token, now=timezone.now()) or "works").partition(":")[0].capitalize()

    @display(description="State")
    def how_it_stands(self, token: ApiToken) -> str:
        """Return whether it works; if not why, and who revoked it."""
        if token.revoked_at is not None:
            return f"revoked {_utc(token.revoked_at)} by {token.revoked_by}"
        return api_tokens.why_dead(token, now=timezone.now()) or "works"

    @display(description="")
    def revoke_button(self, token: ApiToken) -> SafeString | str:
        """Return the button that revokes; the list is a form, which carries the CSRF token."""
        if token.revoked_at is not None:
            return ""
        return format_html(
            '<button type="submit" class="tc-button tc-button-danger" formaction="{}" aria-label="Revoke {}">Revoke</button>',
            reverse("admin:safety_apitoken_revoke", args=[token.pk]),
            token.name,
        )


def _utc(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
