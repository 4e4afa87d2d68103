"""The console as a WSGI application."""

import os

from django.core.wsgi import get_wsgi_application
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from tradingops.kept_sqlite import keep_connections

STATEMENT_TIMEOUT_S = 30

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradingops.settings")
application = get_wsgi_application()


def limit_statements(connection: BaseDatabaseWrapper, **_: object) -> None:
    """End a page's query that runs too long, on PostgreSQL. Commands and workers may take their time: they connect elsewhere."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'")


connection_created.connect(limit_statements, dispatch_uid="tradingops.wsgi.limit_statements")
keep_connections()
