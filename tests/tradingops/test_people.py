"""Users and groups: every change of a right or a password is an operator event, and nobody is deleted."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User

from audit.models import OperatorEvent
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor

__all__ = ["desk", "floor"]

PASSWORD = "a long enough password 1"


def events() -> list[tuple[str, str, str, str]]:
    return list(OperatorEvent.objects.order_by("id").values_list("actor", "action", "old", "new"))


@pytest.fixture
def ann(desk: Desk) -> User:
    return User.objects.create_user("ann", password=PASSWORD, is_staff=True)


def saved(user: User, **changes: Any) -> dict[str, Any]:
    joined = user.date_joined
    fields: dict[str, Any] = {
        "username": user.username, "is_active": "on", "is_staff": "on" if user.is_staff else "",
        "date_joined_0": f"{joined:%Y-%m-%d}", "date_joined_1": f"{joined:%H:%M:%S}",
        "reason": "a new desk", **changes,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value != ""}


def change(user: User) -> str:
    return f"/admin/auth/user/{user.pk}/change/"


def test_new_user_is_audited_with_its_rights(desk: Desk) -> None:
    form = {"username": "bob", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert desk.post("/admin/auth/user/add/", form).status_code == 302
    bob = User.objects.get(username="bob")
    assert not bob.is_staff
    assert bob.check_password(PASSWORD)
    assert ("operator", "user_username_set", "", "bob") in events()
    assert ("operator", "user_is_superuser_set", "", "False") in events()


def test_rights_that_change_are_audited_one_by_one(desk: Desk, ann: User) -> None:
    group = Group.objects.create(name="traders")
    right = Permission.objects.get(codename="operate_bot")
    form = saved(ann, is_superuser="on", groups=[str(group.pk)], user_permissions=[str(right.pk)])
    desk.told(change(ann), form)
    assert events() == [
        ("operator", "user_is_superuser_changed", "False", "True"),
        ("operator", "user_groups_changed", "", "traders"),
        ("operator", "user_permissions_changed", "", "bots.operate_bot"),
    ]
    ann.refresh_from_db()
    assert ann.is_superuser


@pytest.mark.parametrize("reason", ["", "  "])
def test_right_does_not_change_without_a_reason(desk: Desk, ann: User, reason: str) -> None:
    response = desk.post(change(ann), saved(ann, is_superuser="on", reason=reason))
    assert response.status_code == 200
    assert "Say why" in response.content.decode()
    group = Group.objects.create(name="traders")
    assert desk.post(f"/admin/auth/group/{group.pk}/change/", {"name": "buyers", "reason": reason}).status_code == 200
    ann.refresh_from_db()
    group.refresh_from_db()
    assert (ann.is_superuser, group.name, events()) == (False, "traders", [])


def test_reason_is_kept_with_the_right(desk: Desk, ann: User) -> None:
    desk.told(change(ann), saved(ann, is_superuser="on", reason="on call this week"))
    assert OperatorEvent.objects.get(action="user_is_superuser_changed").reason == "on call this week"


def test_name_of_a_person_needs_no_reason(desk: Desk, ann: User) -> None:
    desk.told(change(ann), saved(ann, first_name="Ann", reason=""))
    assert User.objects.get(pk=ann.pk).first_name == "Ann"


def test_right_that_is_taken_away_is_audited(desk: Desk, ann: User) -> None:
    desk.told(change(ann), saved(ann, is_staff=""))
    assert events() == [("operator", "user_is_staff_changed", "True", "False")]


def test_saving_what_is_unchanged_audits_nothing(desk: Desk, ann: User) -> None:
    desk.told(change(ann), saved(ann))
    assert events() == []


def test_bad_form_changes_and_audits_nothing(desk: Desk, ann: User) -> None:
    response = desk.post(change(ann), saved(ann, username="not a name!", is_superuser="on"))
    assert response.status_code == 200
    ann.refresh_from_db()
    assert not ann.is_superuser
    assert events() == []


def test_password_set_for_someone_is_audited_without_the_password(desk: Desk, ann: User) -> None:
    new = "another long password 2"
    form = {"usable_password": "true", "password1": new, "password2": new, "set-password": "1"}
    assert desk.post(f"/admin/auth/user/{ann.pk}/password/", form).status_code == 302
    ann.refresh_from_db()
    assert ann.check_password(new)
    assert [event[1] for event in events()] == ["user_password_set"]
    assert new not in str(events())


def test_own_password_can_be_changed(desk: Desk) -> None:
    desk.user.set_password(PASSWORD)
    desk.user.save()
    desk.client.force_login(desk.user)
    new = "another long password 2"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert desk.post("/admin/password_change/", form).status_code == 302
    desk.user.refresh_from_db()
    assert desk.user.check_password(new)
    assert events() == [("operator", "user_password_set", "", "a new password")]
    assert desk.get("/admin/")


def test_own_password_that_is_refused_is_not_audited(desk: Desk) -> None:
    form = {"old_password": "wrong", "new_password1": PASSWORD, "new_password2": PASSWORD}
    assert desk.post("/admin/password_change/", form).status_code == 200
    assert events() == []


def test_group_rights_are_audited(desk: Desk) -> None:
    right = Permission.objects.get(codename="operate_bot")
    desk.told("/admin/auth/group/add/", {"name": "traders", "permissions": [str(right.pk)], "reason": "new"})
    group = Group.objects.get(name="traders")
    desk.told(f"/admin/auth/group/{group.pk}/change/", {"name": "traders", "reason": "old"})
    assert events() == [
        ("operator", "group_name_changed", "", "traders"),
        ("operator", "group_permissions_changed", "", "bots.operate_bot"),
        ("operator", "group_permissions_changed", "bots.operate_bot", ""),
    ]


def test_user_cannot_be_deleted(desk: Desk, ann: User) -> None:
    assert desk.post(f"/admin/auth/user/{ann.pk}/delete/", {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=ann.pk).exists()


class TestNotASuperuser:
    """Someone who looks after the users, and has the rights that go with it, cannot come by any other right."""

    RIGHTS = (
        "auth.view_user",
        "auth.add_user",
        "auth.change_user",
        "auth.view_group",
        "auth.add_group",
        "auth.change_group",
    )

    @pytest.fixture
    def clerk(self, desk: Desk) -> User:
        desk.as_staff(*self.RIGHTS)
        return desk.user

    @pytest.mark.parametrize("of_oneself", [True, False])
    def test_gives_no_right_to_anybody(self, desk: Desk, clerk: User, ann: User, of_oneself: bool) -> None:
        user, group = clerk if of_oneself else ann, Group.objects.create(name="traders")
        before = user.get_all_permissions()
        right = Permission.objects.get(codename="operate_bot")
        wanted = {"is_superuser": "on", "groups": [str(group.pk)], "user_permissions": [str(right.pk)]}
        assert desk.post(change(user), saved(user, **wanted, first_name="Ann")).status_code == 302
        user = User.objects.get(pk=user.pk)
        assert (user.first_name, user.is_superuser, user.get_all_permissions()) == ("Ann", False, before)
        assert not user.groups.exists()

    def test_changes_neither_a_superuser_nor_one_with_more_rights(self, desk: Desk, clerk: User, ann: User) -> None:
        boss = User.objects.get(username="operator")
        ann.user_permissions.add(Permission.objects.get(codename="operate_bot"))
        # What an inactive person was given comes back with a click.
        User.objects.filter(pk=ann.pk).update(is_active=False)
        passwords = [boss.password, ann.password]
        form = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD, "set-password": "1"}
        for user in (boss, ann):
            assert desk.post(change(user), saved(user, is_active="on")).status_code == 403
            assert desk.post(f"/admin/auth/user/{user.pk}/password/", form).status_code == 403
        assert [User.objects.get(pk=user.pk).password for user in (boss, ann)] == passwords
        assert not User.objects.get(pk=ann.pk).is_active
        assert events() == []

    def test_sets_a_password_for_one_with_the_same_rights(self, desk: Desk, clerk: User, ann: User) -> None:
        ann.user_permissions.set(clerk.user_permissions.all())
        form = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD, "set-password": "1"}
        assert desk.post(f"/admin/auth/user/{ann.pk}/password/", form).status_code == 302
        assert [event[1] for event in events()] == ["user_password_set"]

    def test_makes_and_changes_no_group(self, desk: Desk, clerk: User) -> None:
        group = Group.objects.create(name="clerks")
        clerk.groups.add(group)
        right = Permission.objects.get(codename="operate_bot")
        form = {"name": "clerks", "permissions": [str(right.pk)]}
        assert desk.post(f"/admin/auth/group/{group.pk}/change/", form).status_code == 403
        assert desk.post("/admin/auth/group/add/", {**form, "name": "more"}).status_code == 403
        assert not group.permissions.exists()
        assert not Group.objects.filter(name="more").exists()

    def test_looks_at_those_it_cannot_change(self, desk: Desk, clerk: User) -> None:
        boss = User.objects.get(username="operator")
        page = desk.get(change(boss))
        assert "operator" in page
        assert "pbkdf2" not in page
        assert 'name="_save"' not in page
