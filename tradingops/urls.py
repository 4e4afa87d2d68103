"""URLs of the console."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from tradingops.api import api, no_such_endpoint

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/", api.urls),
    # After the API's own: what it doesn't know answers in its error shape, too.
    path("api/<path:rest>", no_such_endpoint),
]
