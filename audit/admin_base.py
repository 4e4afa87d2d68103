"""What every admin page of ours shares: nothing is deleted, and every save is one audit unit."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.forms import BaseModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.views.decorators.csrf import csrf_protect
from unfold.admin import ModelAdmin as UnfoldModelAdmin
from unfold.widgets import UnfoldAdminTextInputWidget

from audit.admin_input import CheckedInputAdmin
from audit.fields import ExactDecimalField
from audit.log import OperatorEventRecord, joined_unit, record

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
COUNTED_ROWS_MAX = 1_000


class UnitChangeformAdmin(admin.ModelAdmin[Any]):
    """Saves in an audit unit instead of in Django's own transaction.

    An audit row refuses to be written in a plain atomic block: it could be rolled back and tell of what never happened.
    """

    #: False where what a save does commits by itself, as the kill switch has to: no page of it may hold it back.
    saves_in_unit = True

    @method_decorator(csrf_protect)
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the form, or save it in one unit: the change and its audit rows commit together."""
        if request.method in SAFE_METHODS or not self.saves_in_unit:
            return self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined]
        with joined_unit():
            return self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined]


class ConsoleModelAdmin(UnfoldModelAdmin, CheckedInputAdmin, UnitChangeformAdmin):  # type: ignore[misc]
    """The base of every page of ours. Django's own log is left out: the operator events are the log."""

    formfield_overrides = {ExactDecimalField: {"widget": UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"})}}
    compressed_fields = True
    list_fullwidth = True
    actions_on_bottom = False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nothing is ever deleted here: history stays."""
        return False

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Write no entry: the audit has one."""

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Write no entry: the audit has one."""


class ReadOnlyModelAdmin(ConsoleModelAdmin):
    """Pages to look at only."""

    actions: Any = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nothing is added by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nothing is changed by hand."""
        return False


class BoundedPaginator(Paginator[Any]):
    """Counts at most COUNTED_ROWS_MAX rows, so that a page costs the same in a table of a thousand and of ten million.

    The pages end there; the way on is a link to the rows before the last one shown.
    """

    @cached_property
    def count(self) -> int:
        """Return the number of rows, or COUNTED_ROWS_MAX when there are more."""
        if isinstance(self.object_list, QuerySet):
            return self.object_list.order_by()[:COUNTED_ROWS_MAX].count()
        return len(self.object_list)

    @property
    def is_cut(self) -> bool:
        """Return whether there may be more rows than the pages show."""
        return self.count >= COUNTED_ROWS_MAX


Shown = TypeVar("Shown", bound=Callable[..., Any])


def display(
    *, description: str, label: Mapping[str, str] | None = None, ordering: str | None = None
) -> Callable[[Shown], Shown]:
    """Name a column; ``label`` shows its words as badges, each in the colour given for it."""

    def named(function: Shown) -> Shown:
        attributes = {"short_description": description, "label": label, "admin_order_field": ordering}
        for name, value in attributes.items():
            if value is not None:
                setattr(function, name, value)
        return function

    return named


def actor_of(request: HttpRequest) -> str:
    """Return who acts, as audit rows name them."""
    return request.user.get_username()


def audit_changes(request: HttpRequest, form: BaseModelForm[Any], what: str, action: str, reason: str = "") -> None:
    """Record one operator event for each changed field of a saved form, with its old and its new value."""
    for name in form.changed_data:
        if name not in form.cleaned_data:
            continue
        old, new = shown(form.initial.get(name)), shown(form.cleaned_data[name])
        if old != new:
            record_change(request, f"{action}_{name}_changed", what, old, new, reason)


def record_change(request: HttpRequest, action: str, what: str, old: str, new: str, reason: str = "") -> None:
    """Record one operator event by the signed-in person, in the open unit."""
    record(OperatorEventRecord(actor=actor_of(request), action=action, object=what, old=old, new=new, reason=reason))


def shown(value: Any) -> str:
    """Return a form's value as the audit keeps it; nothing is an empty text."""
    if value is None:
        return ""
    formatted = ExactDecimalField().to_python(value) if hasattr(value, "as_tuple") else value
    return f"{formatted:f}" if hasattr(formatted, "as_tuple") else str(formatted)


def ok_or_login(request: HttpRequest, permission: str) -> HttpResponse | None:
    """Return None when a page's moving part may be shown, else an answer that sends the browser to the sign-in."""
    if request.user.is_authenticated and request.user.is_staff:
        return None if request.user.has_perm(permission) else HttpResponse(status=403)
    # A redirect would put the sign-in page into the middle of the page that polls.
    return HttpResponse(status=204, headers={"HX-Refresh": "true"})
