"""Read-only pages over django-q2's tables.

A schedule or a queued task may name any importable function: whoever may add or change one can run anything.
django-q2's own pages allow it, and resubmit tasks on a click, so they are replaced for everybody, superusers too.
"""

import django_q.admin  # noqa: F401  (registers its pages at import: they must be there to be replaced)
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django_q.conf import Conf
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.admin import ModelAdmin


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]
    """Shows rows to those who may view them; nobody adds, changes, deletes or acts."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ScheduleAdmin(ReadOnlyAdmin):
    """What runs again and again."""

    list_display = ("name", "func", "schedule_type", "minutes", "cluster", "next_run")


class ResultAdmin(ReadOnlyAdmin):
    """What ran, and how it ended."""

    list_display = ("name", "func", "group", "cluster", "started", "stopped")
    list_filter = ("cluster",)
    # The pickled columns are not opened for a page.
    fields: tuple[str, ...] = ("id", "name", "func", "group", "cluster", "started", "stopped", "attempt_count")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        rows: QuerySet[Model] = super().get_queryset(request)
        return rows.defer("args", "kwargs", "result")


class FailureAdmin(ResultAdmin):
    """What failed, with its traceback."""

    fields = (*ResultAdmin.fields, "result")


class QueueAdmin(ReadOnlyAdmin):
    """What waits or runs."""

    list_display = ("id", "key", "name", "func", "lock")
    fields = ("key", "lock", "task_id", "name", "group", "func")


def lock_queue_admin(site: admin.AdminSite) -> None:
    """Replace django-q2's pages on this site by read-only ones."""
    pages = {Schedule: ScheduleAdmin, Success: ResultAdmin, Failure: FailureAdmin}
    if Conf.ORM:
        pages[OrmQ] = QueueAdmin
    for model, page in pages.items():
        if site.is_registered(model):
            site.unregister(model)
        site.register(model, page)
