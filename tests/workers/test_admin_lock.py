"""Nobody may put a callable into the queue through the admin."""

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from django_q.signing import SignedPackage

pytestmark = pytest.mark.django_db


@pytest.fixture
def superuser() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.org", "a long password"))
    return client


@pytest.fixture
def rows() -> dict[type[Model], int | str]:
    schedule = Schedule.objects.create(
        name="seen", func="bots.tasks.watchdog", schedule_type=Schedule.MINUTES, minutes=1
    )
    package = SignedPackage.dumps({"id": "1", "name": "n", "func": "bots.tasks.watchdog", "args": (), "kwargs": {}})
    queued = OrmQ.objects.create(key="slow", payload=package, lock=timezone.now())
    common = {"func": "bots.tasks.watchdog", "started": timezone.now(), "stopped": timezone.now()}
    done = Task.objects.create(id="1" * 32, name="done", success=True, **common)
    failed = Task.objects.create(id="2" * 32, name="failed", success=False, result="why", **common)
    return {Schedule: schedule.pk, OrmQ: queued.pk, Success: done.pk, Failure: failed.pk}


MODELS: list[type[Model]] = [Schedule, OrmQ, Success, Failure]


def url(model: type[Model], page: str, *args: object) -> str:
    return reverse(f"admin:django_q_{model.__name__.lower()}_{page}", args=args)


@pytest.mark.parametrize("model", MODELS)
def test_superuser_sees_the_list_and_each_row(
    superuser: Client, rows: dict[type[Model], int | str], model: type[Model]
) -> None:
    assert superuser.get(url(model, "changelist")).status_code == 200
    assert superuser.get(url(model, "change", rows[model])).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_superuser_cannot_add(superuser: Client, rows: dict[type[Model], int | str], model: type[Model]) -> None:
    before = model._default_manager.count()
    body = {
        "func": "os.system",
        "args": "'true'",
        "schedule_type": "O",
        "key": "slow",
        "payload": "x",
        "name": "evil",
        "repeats": "-1",
    }
    assert superuser.get(url(model, "add")).status_code == 403
    assert superuser.post(url(model, "add"), body).status_code == 403
    assert model._default_manager.count() == before


@pytest.mark.parametrize("model", MODELS)
def test_superuser_cannot_change_or_delete(
    superuser: Client, rows: dict[type[Model], int | str], model: type[Model]
) -> None:
    before = model._default_manager.filter(pk=rows[model]).values().get()
    body = {**{key: str(value) for key, value in before.items()}, "func": "os.system", "name": "evil"}
    assert superuser.post(url(model, "change", rows[model]), body).status_code == 403
    assert superuser.post(url(model, "delete", rows[model]), {"post": "yes"}).status_code == 403
    assert model._default_manager.filter(pk=rows[model]).values().get() == before


@pytest.mark.parametrize("model", MODELS)
def test_superuser_cannot_run_an_action(
    superuser: Client, rows: dict[type[Model], int | str], model: type[Model]
) -> None:
    queued = OrmQ.objects.count()
    for action in ("resubmit_task", "delete_selected"):
        superuser.post(url(model, "changelist"), {"action": action, "_selected_action": [rows[model]], "post": "yes"})
    assert OrmQ.objects.count() == queued
    assert model._default_manager.filter(pk=rows[model]).exists()


def test_no_page_of_the_queue_app_is_left_that_can_write() -> None:
    from bots.workers.admin_lock import ReadOnlyAdmin

    pages = [page for model, page in admin.site._registry.items() if model._meta.app_label == "django_q"]
    assert len(pages) == len(MODELS)
    assert all(isinstance(page, ReadOnlyAdmin) for page in pages)
