"""URLs of the console."""

import django_stubs_ext
from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from bots.workers.admin_lock import lock_queue_admin
from tradingops.api import api, no_such_endpoint
from tradingops.api.documentation import redoc_page, redoc_script
from tradingops.metrics import metrics_api

# Here and not when the apps get ready, so that commands and workers do without the admin.
django_stubs_ext.monkeypatch()
admin.autodiscover()
lock_queue_admin(admin.site)

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/", api.urls),
    path("api/redoc", redoc_page, name="redoc"),
    path("api/redoc.js", redoc_script, name="redoc_script"),
    # After the API's own: what it doesn't know answers in its error shape, too.
    path("api/<path:rest>", no_such_endpoint),
    path("", metrics_api.urls),
]

handler500 = "tradingops.failures.server_error"
