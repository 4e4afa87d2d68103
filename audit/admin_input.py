"""What an address or a form may name in a list: absurd values are the sender's fault, and never a fault of the console."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, ValidationError
from django.db import DataError
from django.http import HttpRequest

NUL = "\0"
#: What a database or Django raises for a value that no column can hold.
NOT_HOLDABLE = (OverflowError, ValueError, DataError)


class CheckedInputAdmin(admin.ModelAdmin[Any]):
    """Lists that answer absurd filters with a plain page, and absurd choices with 400."""

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list, read already, so that a filter which can't be looked up is found here."""
        try:
            changelist: ChangeList = super().get_changelist_instance(request)
            len(changelist.result_list)
        except NOT_HOLDABLE as error:
            if request.GET:
                raise IncorrectLookupParameters(error) from error
            raise
        return changelist

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list or do an action. Raises BadRequest when a chosen row can be no row's id."""
        pk = self.opts.pk
        for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                pk.run_validators(pk.to_python(chosen))
            except ValidationError as error:
                raise BadRequest("a chosen row has an id that no row can have") from error
            if NUL in chosen:
                raise BadRequest("a null character in an id")
        return super().changelist_view(request, extra_context)
