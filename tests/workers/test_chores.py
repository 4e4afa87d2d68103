"""Chores: each when it is due, one worker at a time, and an error in one stops no other."""

from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
from django.utils import timezone
from django_q.models import Task
from pytest_django import Settings

from bots.models import Lease
from bots.workers.chores import CHORE_MODULES, Chore, ChoresShift, chore, load_chores
from bots.workers.database_time import database_time
from bots.workers.housekeeping import KEEP_FAILURES, prune_failures


def shift_of(*chores: Chore, life_s: float = 60) -> ChoresShift:
    return ChoresShift(cluster_id="slow@here:1", life_s=life_s, chores=list(chores))


class Counter:
    """A chore that counts, and fails if told to."""

    def __init__(self, name: str, every_s: float = 3600, error: Exception | None = None) -> None:
        self.count, self._error = 0, error
        self.chore = Chore(name, every_s, self)

    def __call__(self, now: datetime) -> None:
        assert now.tzinfo is not None
        self.count += 1
        if self._error is not None:
            raise self._error


@pytest.mark.django_db
class TestShift:
    def test_chore_runs_at_once_and_again_only_when_due(self) -> None:
        seldom, often = Counter("seldom"), Counter("often", every_s=0)
        shift = shift_of(seldom.chore, often.chore)
        for _ in range(3):
            shift.round()
        assert (seldom.count, often.count) == (1, 3)

    def test_error_is_shown_and_stops_no_other(self) -> None:
        bad, good = Counter("bad", error=ZeroDivisionError("by zero")), Counter("good")
        shift = shift_of(bad.chore, good.chore)
        shift.round()
        results = shift.shown()["chores"]
        assert good.count == 1
        assert results["bad"]["error"] == "ZeroDivisionError: by zero"
        assert results["good"]["error"] == ""
        assert datetime.fromisoformat(results["good"]["ran_at"]) <= datetime.now(UTC)

    def test_only_the_holder_of_the_lease_works_and_the_other_takes_over(self) -> None:
        first, second = Counter("chore", every_s=0), Counter("chore", every_s=0)
        holder, standby = shift_of(first.chore), shift_of(second.chore)
        holder.round()
        standby.round()
        assert (first.count, second.count) == (1, 0)
        assert standby.shown()["active"] is False
        Lease.objects.update(expires_at=database_time(-1))
        heir = shift_of(second.chore)
        heir.round()
        assert second.count == 1

    def test_end_of_the_shift_frees_the_lease(self) -> None:
        assert shift_of(Counter("chore").chore, life_s=0.2).run() == "handed over"
        assert Lease.objects.get(pk="chores").holder == ""


class TestRegistry:
    def test_taken_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="prune_failures"):
            chore(every_s=1)(prune_failures)

    def test_listed_modules_are_loaded(self, settings: Settings) -> None:
        settings.CHORE_MODULES = ["bots.workers.housekeeping"]
        names = [one.name for one in load_chores()]
        assert "bots.workers.housekeeping.anchor_chains" in names
        assert names == sorted(names)

    def test_every_module_that_has_a_chore_is_listed(self) -> None:
        # A chore in a module that nobody lists never runs, and no test of its function sees that.
        root = Path(import_module("bots").__path__[0])
        marked = {path for path in root.rglob("*.py") if "\n@chore(" in path.read_text(encoding="utf-8")}
        modules = {".".join(path.relative_to(root.parent).with_suffix("").parts) for path in marked}
        assert modules == set(CHORE_MODULES)


@pytest.mark.django_db
def test_old_failures_are_pruned_and_younger_ones_kept() -> None:
    now = timezone.now()
    for number, age in enumerate([KEEP_FAILURES * 0.9, KEEP_FAILURES * 1.1]):
        Task.objects.create(id=str(number), name="n", func="f", started=now - age, stopped=now - age, success=False)
    Task.objects.create(id="s", name="n", func="f", started=now, stopped=now - KEEP_FAILURES * 2, success=True)
    prune_failures(now)
    assert sorted(Task.objects.values_list("id", flat=True)) == ["0", "s"]
