"""The second factor: codes of an authenticator app (TOTP), and recovery codes for when the phone is lost.

A person turns it on; whoever has it on is asked for a code at each sign-in. The secrets lie in the database, so that a
stolen database needs a reset of all of them; recovery codes are kept as hashes only.
"""

import hashlib
import re
import secrets
from base64 import b32encode
from typing import Any, cast

from django.contrib.auth.models import User
from django.db import transaction
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from audit.log import OperatorEventRecord, joined_unit, record

APP_NAME, RECOVERY_NAME = "authenticator app", "recovery codes"
RECOVERY_CODES = 10
RECOVERY_BYTES = 10
HASH_CHARS = 16
TOTP_CODE = re.compile(r"[0-9]{6}", re.ASCII)
CODE, RECOVERY_CODE = "a code", "a recovery code"


def is_on(user: Any) -> bool:
    """Return whether this person's sign-in asks for a code."""
    return bool(TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists())


def verify(user: Any, text: str) -> str:
    """Return what ``text`` was: CODE, RECOVERY_CODE, or an empty text when it is neither. Each works once.

    Wrong ones make the next one wait, twice as long each time; one that comes too early is refused, also when it is right.
    """
    typed = _plain(text)
    if TOTP_CODE.fullmatch(typed):
        return CODE if _verified(TOTPDevice, user, typed) else ""
    return RECOVERY_CODE if typed and _verified(StaticDevice, user, _hashed(typed)) else ""


def start(user: Any) -> TOTPDevice:
    """Return a fresh secret that waits for its first code. Nothing is asked for until ``confirm`` got one."""
    with transaction.atomic():
        TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).delete()
        return cast(TOTPDevice, TOTPDevice.objects.create(user_id=user.pk, name=APP_NAME, confirmed=False))


def waiting(user: Any) -> TOTPDevice | None:
    """Return the secret that waits for its first code, if any."""
    return cast(TOTPDevice | None, TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).last())


def key_shown(device: TOTPDevice) -> str:
    """Return the secret as people type it into an app: base 32, in groups of four."""
    key = b32encode(device.bin_key).decode()
    return " ".join(key[at : at + 4] for at in range(0, len(key), 4))


def confirm(user: Any, text: str, *, actor: str) -> list[str] | None:
    """Turn the second factor on, if ``text`` is a code of the waiting secret. Return the recovery codes, else None."""
    typed = _plain(text)
    with joined_unit():
        device = TOTPDevice.objects.select_for_update().filter(user_id=user.pk, confirmed=False).last()
        if is_on(user) or device is None or not TOTP_CODE.fullmatch(typed) or not device.verify_token(typed):
            return None
        device.confirmed = True
        device.save()
        _audit(user, actor, "second_factor_turned_on", "off", "on")
        return _fresh_recovery_codes(user)


def new_recovery_codes(user: Any, *, actor: str) -> list[str]:
    """Return fresh recovery codes; the old ones work no more."""
    with joined_unit():
        _audit(user, actor, "recovery_codes_made", "", f"{RECOVERY_CODES} new codes")
        return _fresh_recovery_codes(user)


def recovery_codes_left(user: Any) -> int:
    """Return how many recovery codes were not used yet."""
    return int(sum(device.token_set.count() for device in StaticDevice.objects.filter(user_id=user.pk)))


def turn_off(user: Any, *, actor: str, reason: str = "") -> bool:
    """Forget this person's secret and recovery codes. Return whether the second factor was on."""
    with joined_unit():
        User.objects.select_for_update().get(pk=user.pk)
        was_on = is_on(user)
        TOTPDevice.objects.filter(user_id=user.pk).delete()
        StaticDevice.objects.filter(user_id=user.pk).delete()
        if was_on:
            _audit(user, actor, "second_factor_turned_off", "on", "off", reason)
        return was_on


def _plain(text: str) -> str:
    """Return a code as it is compared: people type spaces, dashes and capitals."""
    return re.sub(r"[\s-]", "", text).lower()[:64]


def _hashed(code: str) -> str:
    # 80 random bits can't be guessed from 64 bits of their hash; the column holds no more.
    return hashlib.sha256(code.encode()).hexdigest()[:HASH_CHARS]


def _verified(model: Any, user: Any, token: str) -> bool:
    # Locked, or two requests at the same moment could use one code twice.
    with transaction.atomic():
        devices = model.objects.select_for_update().filter(user_id=user.pk, confirmed=True)
        return any(device.verify_token(token) for device in devices)


def _fresh_recovery_codes(user: Any) -> list[str]:
    StaticDevice.objects.filter(user_id=user.pk).delete()
    device = StaticDevice.objects.create(user_id=user.pk, name=RECOVERY_NAME)
    codes = [b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)]
    for code in codes:
        device.token_set.create(token=_hashed(code))
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]


def _audit(user: Any, actor: str, action: str, old: str, new: str, reason: str = "") -> None:
    record(OperatorEventRecord(actor, action, f"user:{user.pk} {user.get_username()}", old, new, reason))
