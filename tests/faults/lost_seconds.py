"""A database that loses its last seconds, as after a failover to a replica that was behind: a copy comes back in its place."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Self

import psycopg
from django.db import connection
from psycopg import sql

from tests.conftest import CommittedDatabase


class Replica:
    """A copy of a test's own database at one moment, gone at the end of ``with``.

    No process may be connected while it is made or takes over.
    """

    def __init__(self, database: CommittedDatabase) -> None:
        self._database = database
        self._name = f"{database.name}_replica"
        connection.close()
        if database.vendor == "sqlite":
            _copy(database.path, Path(self._name))
        else:
            _on_server("CREATE DATABASE {} TEMPLATE {}", self._name, database.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A file goes with the test's directory.
        if self._database.vendor != "sqlite":
            _on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._name)

    def take_over(self) -> None:
        """Put the copy in the database's place: what was committed since it was made is lost."""
        connection.close()
        if self._database.vendor == "sqlite":
            _copy(Path(self._name), self._database.path)
            return
        _on_server("DROP DATABASE {} WITH (FORCE)", self._database.name)
        _on_server("ALTER DATABASE {} RENAME TO {}", self._name, self._database.name)


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def _on_server(statement: str, *names: str) -> None:
    with psycopg.connect(os.environ["TEST_POSTGRES_URL"], autocommit=True) as server:
        server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
