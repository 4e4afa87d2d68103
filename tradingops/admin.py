"""People: users and groups. Each change of a right or a password is an operator event. Nobody is deleted, only made inactive."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model, Q
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django_otp.plugins.otp_static import admin as _otp_static_admin  # noqa: F401  (registers what is taken out below)
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp import admin as _otp_totp_admin  # noqa: F401
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminTextInputWidget

from audit.admin_base import SAFE_METHODS, ConsoleModelAdmin, record_change
from audit.admin_filters import NUMBER
from audit.log import joined_unit
from safety import recent_signin, second_factor
from tradingops import admin_site
from tradingops.second_factor_pages import reset_page

NAMED_RIGHTS = ("username", "is_active", "is_staff", "is_superuser")
GIVEN_BY_SUPERUSERS = ("is_superuser", "groups", "user_permissions")

admin.site.unregister(User)
admin.site.unregister(Group)
# They would show the secrets, and let one be taken away without asking for it.
admin.site.unregister(TOTPDevice)
admin.site.unregister(StaticDevice)
admin_site.install()


def rights_of(user: User) -> dict[str, str]:
    """Return what a user may do, by field, as text that can be compared and kept."""
    return {
        **{name: str(getattr(user, name)) for name in NAMED_RIGHTS},
        "groups": ", ".join(sorted(user.groups.values_list("name", flat=True))),
        "permissions": _codes(user.user_permissions),
    }


def _codes(permissions: Any) -> str:
    found = permissions.values_list("content_type__app_label", "codename")
    return ", ".join(sorted(f"{app}.{code}" for app, code in found))


def may_change(actor: Any, user: User) -> bool:
    """Return whether ``actor``'s rights cover ``user``'s: else a new password for someone would be a way to get his."""
    return bool(actor.is_superuser or (not user.is_superuser and _held(user) <= _held(actor)))


def _held(user: User) -> set[int]:
    """Return the permissions that were given to a user, also to one who is inactive and could be made active again."""
    return set(Permission.objects.filter(Q(user=user) | Q(group__user=user)).values_list("pk", flat=True))


class WithReason(forms.ModelForm[Any]):
    """Asks why a right is given or taken. What says nothing of rights needs no reason."""

    harmless: ClassVar[frozenset[str]] = frozenset()
    reason = forms.CharField(
        label="Why",
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Kept in the operator events. Needed when a right changes.",
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a change of rights without a reason."""
        cleaned = super().clean() or {}
        if set(self.changed_data) - self.harmless - {"reason"} and not cleaned.get("reason", "").strip():
            self.add_error("reason", "Say why: it is kept in the operator events.")
        return cleaned


class ReasonedUserForm(WithReason, UserChangeForm):  # type: ignore[misc]
    """A user's rights, with why they change."""

    harmless = frozenset({"first_name", "last_name", "email", "password", "date_joined", "last_login"})


class ReasonedGroupForm(WithReason):
    """A group's rights, with why they change."""


WHY: Any = ("Why", {"fields": ("reason",)})


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], ConsoleModelAdmin):
    """Who may sign in, and what each may do."""

    form = ReasonedUserForm
    fieldsets = (*(DjangoUserAdmin.fieldsets or ()), WHY)
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active")
    # The two-pane chooser is wider than a phone.
    filter_horizontal = ()
    change_form_outer_before_template = "admin/console/user_second_factor.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the pages, with the one that resets a second factor."""
        reset = self.admin_site.admin_view(reset_page)
        return [path("<int:user_id>/second-factor/", reset, name="auth_user_second_factor"), *super().get_urls()]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Without being a superuser one changes, and sets passwords for, only those who have no more rights than oneself."""
        if obj is not None and not may_change(request.user, obj):
            return False
        return bool(super().has_change_permission(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Superusers alone give rights: whoever else could, could give himself all of them."""
        given = super().get_readonly_fields(request, obj)
        return given if request.user.is_superuser else (*given, *GIVEN_BY_SUPERUSERS)

    @method_decorator(sensitive_post_parameters())
    @method_decorator(csrf_protect)
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Show the form, or add the user in one audit unit."""
        if request.method in SAFE_METHODS:
            return self._add_view(request, form_url, extra_context)
        if (asked := recent_signin.ask(request)) is not None:
            return asked
        with joined_unit():
            return self._add_view(request, form_url, extra_context)

    @method_decorator(sensitive_post_parameters())
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        """Show the form, or set someone's password in one audit unit."""
        if request.method in SAFE_METHODS:
            return super().user_change_password(request, id, form_url)
        if (asked := recent_signin.ask(request)) is not None:
            return asked
        with joined_unit():
            return super().user_change_password(request, id, form_url)

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """Show the form, or save it with a recent sign-in."""
        if (asked := recent_signin.ask(request, on_get=False)) is not None:
            return asked
        user = self.get_object(request, object_id) if NUMBER.fullmatch(object_id) else None
        extra = {"second_factor_is_on": user is not None and second_factor.is_on(user)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Record a password that was set; other changes are recorded field by field."""
        if request.resolver_match is not None and request.resolver_match.url_name == "auth_user_password_change":
            record_change(request, "user_password_set", f"user:{obj.pk} {obj}", "", "a new password")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Remember the rights before the change, then save."""
        form.rights_before = rights_of(User.objects.get(pk=obj.pk)) if change else {}
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save groups and permissions, then record each right that is not what it was."""
        super().save_related(request, form, formsets, change)
        before = form.rights_before
        for name, new in rights_of(form.instance).items():
            if before.get(name, "") != new:
                what = f"user:{form.instance.pk} {form.instance.username}"
                action, reason = f"user_{name}_changed" if change else f"user_{name}_set", _reason(form)
                record_change(request, action, what, before.get(name, ""), new, reason)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ConsoleModelAdmin):
    """Sets of rights, given to people by their names."""

    form = ReasonedGroupForm
    fields = ("name", "permissions", "reason")
    filter_horizontal = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Superusers alone give rights, by way of a group too."""
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers alone give rights: a member could add to those of his own group."""
        return bool(request.user.is_superuser)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show the form, or save it with a recent sign-in."""
        asked = recent_signin.ask(request, on_get=False)
        return super().changeform_view(request, *args, **kwargs) if asked is None else asked

    def save_model(self, request: HttpRequest, obj: Group, form: Any, change: bool) -> None:
        """Remember the name and the rights before the change, then save."""
        old = Group.objects.get(pk=obj.pk) if change else None
        form.before = ("", "") if old is None else (old.name, _codes(old.permissions))
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save the permissions, then record what is not what it was."""
        super().save_related(request, form, formsets, change)
        group = form.instance
        after = (group.name, _codes(group.permissions))
        for name, old, new in zip(("name", "permissions"), form.before, after, strict=True):
            if old != new:
                what = f"group:{group.pk} {group.name}"
                record_change(request, f"group_{name}_changed", what, old, new, _reason(form))


def _reason(form: Any) -> str:
    """Return what was given as the reason; the form for a new user asks for none."""
    return str(form.cleaned_data.get("reason", "")).strip()
