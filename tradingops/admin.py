"""People: users and groups. Each change of a right or a password is an operator event. Nobody is deleted, only made inactive."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model, Q
from django.http import HttpRequest
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from audit.admin_base import SAFE_METHODS, ConsoleModelAdmin, record_change
from audit.log import joined_unit
from tradingops import admin_site

NAMED_RIGHTS = ("username", "is_active", "is_staff", "is_superuser")
GIVEN_BY_SUPERUSERS = ("is_superuser", "groups", "user_permissions")

admin.site.unregister(User)
admin.site.unregister(Group)
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


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], ConsoleModelAdmin):
    """Who may sign in, and what each may do."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active")
    # The two-pane chooser is wider than a phone.
    filter_horizontal = ()

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
        with joined_unit():
            return self._add_view(request, form_url, extra_context)

    @method_decorator(sensitive_post_parameters())
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        """Show the form, or set someone's password in one audit unit."""
        if request.method in SAFE_METHODS:
            return super().user_change_password(request, id, form_url)
        with joined_unit():
            return super().user_change_password(request, id, form_url)

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
                record_change(
                    request, f"user_{name}_changed" if change else f"user_{name}_set", what, before.get(name, ""), new
                )


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ConsoleModelAdmin):
    """Sets of rights, given to people by their names."""

    filter_horizontal = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Superusers alone give rights, by way of a group too."""
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers alone give rights: a member could add to those of his own group."""
        return bool(request.user.is_superuser)

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
                record_change(request, f"group_{name}_changed", f"group:{group.pk} {group.name}", old, new)
