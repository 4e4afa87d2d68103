"""Checks on what the running processes were started with: gates, token, names, cookies, keys of the console itself.

Every fact here is one that a running process published of itself (safety/facts.py).
"""

from collections.abc import Callable, Sequence
from typing import Any

from safety.facts import LONG, ProcessFacts
from safety.readiness import judged_when_asked, register
from safety.readiness_values import Context, Outcome, Severity, failed, not_known, ok

WEB, RUNNER, CHORES = "web", "runner", "chores"
NEEDED_KINDS = (WEB, RUNNER, CHORES)
START_AGAIN = "Then stop the console with Ctrl-C (or its service) and start it again."
START = "Start the console with make run, or all that the Procfile names, and wait half a minute."
NEW_TOKEN = (
    "Put the output of python3 -c 'import secrets; print(secrets.token_urlsafe(32))' into WORKER_API_TOKEN in .env."  # noqa: S105
)
NAMES_SHOWN_MAX = 4


def silence(processes: Sequence[ProcessFacts]) -> Outcome | None:
    """Return why the processes' settings are not known, or None when each needed kind was heard of and each told its own."""
    kinds = {one.kind for one in processes}
    if absent := [kind for kind in NEEDED_KINDS if kind not in kinds]:
        return not_known(f"Not heard of in the last half minute: {', '.join(absent)}.", START)
    if mute := [one.name for one in processes if not one.facts]:
        return not_known(
            f"These say nothing of their settings, so another version runs there: {_some(mute)}.",
            "Stop every process of the console on every host, and start them all again from the same version.",
        )
    return None


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN_MAX
    return ", ".join(names[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _none_is(context: Context, is_bad: Callable[[ProcessFacts], bool], good: str, bad: str, remedy: str) -> Outcome:
    """Return whether no process is bad; what is not told counts as not known."""
    if (unknown := silence(context.processes)) is not None:
        return unknown
    named = [one.name for one in context.processes if is_bad(one)]
    return failed(f"{bad} Seen at: {_some(named)}.", f"{remedy} {START_AGAIN}") if named else ok(good)


@register("gates_agree", "The gates parse, and all processes run with the same settings", Severity.BLOCKER)
def gates_agree(context: Context) -> Outcome:
    """Compare what the processes tell of their gates and settings; a gate with a mistyped value fails, too."""
    if (unknown := silence(context.processes)) is not None:
        return unknown
    for one in context.processes:
        for name, gate in one.get("gates").items():
            if gate["hint"]:
                return failed(f"{gate['hint']} Seen at: {one.name}.", f"Set {name} to 1 or to 0 in .env. {START_AGAIN}")
    if differing := _differing([one.facts for one in context.processes]):
        return failed(
            f"Running processes differ in: {', '.join(differing)}.",
            "Give every host the same settings, then stop every process of the console and start them all again.",
        )
    gates = context.processes[0].get("gates")
    shown = ", ".join(f"{name} is {'open' if gate['open'] else 'shut'}" for name, gate in sorted(gates.items()))
    return ok(f"{len(context.processes)} processes agree: {shown}.")


def _differing(told: Sequence[Any]) -> list[str]:
    """Return the names of the facts that are not the same everywhere; where a gate was read from does not matter."""
    plain = [
        {**one, "gates": {name: gate["open"] for name, gate in one["gates"].items()}, "clock": "", "config_hash": ""}
        for one in told
    ]
    names = sorted({name for one in plain for name in one})
    return [name for name in names if any(one.get(name) != plain[0].get(name) for one in plain)]


@register("token_where_exposed", "A long API token where the console is exposed", Severity.BLOCKER)
def token_where_exposed(context: Context) -> Outcome:
    """Ask for a token of 32 characters where HOST or ALLOWED_HOSTS go beyond this machine; for the one being replaced, too."""
    return _none_is(
        context,
        lambda one: (
            one.get("is_exposed") and (one.get("token") != LONG or one.get("token_previous") not in {LONG, "unset"})
        ),
        "Where the console answers beyond its own machine, the token has 32 characters or more.",
        "The console answers beyond this machine, and WORKER_API_TOKEN (or the previous one) is unset or short.",
        NEW_TOKEN,
    )


@register("token_on_loopback", "An API token, also on one machine", Severity.WARNING)
def token_on_loopback(context: Context) -> Outcome:
    """Warn of an unset or short token where the console answers on its own machine only."""
    return _none_is(
        context,
        lambda one: not one.get("is_exposed") and one.get("token") != LONG,
        "The API asks for a token of 32 characters or more.",
        "WORKER_API_TOKEN is unset or has less than 32 characters: whoever is signed in can use the API.",
        NEW_TOKEN,
    )


@register("debug_off", "DEBUG is off", Severity.BLOCKER)
def debug_off(context: Context) -> Outcome:
    """Refuse DEBUG, which shows settings and code to whoever meets an error."""
    return _none_is(context, lambda one: one.get("debug"), "DEBUG is off.", "DEBUG is on.", "Set DEBUG=0 in .env.")


@register("secret_key", "SECRET_KEY is long and random", Severity.BLOCKER)
def secret_key(context: Context) -> Outcome:
    """Ask for a SECRET_KEY of 50 characters that came with no template."""
    return _none_is(
        context,
        lambda one: one.get("secret_key") != LONG,
        "SECRET_KEY has 50 characters or more and is no example's.",
        "SECRET_KEY is shorter than 50 characters, or an example's.",
        "Put the output of python3 -c 'import secrets; print(secrets.token_urlsafe(48))' into SECRET_KEY in .env.",
    )


@register("allowed_hosts", "ALLOWED_HOSTS names hosts", Severity.BLOCKER)
def allowed_hosts(context: Context) -> Outcome:
    """Refuse ``*``, with which any web site could make a browser talk to the console under its own name."""
    return _none_is(
        context,
        lambda one: one.get("any_host"),
        "ALLOWED_HOSTS names hosts, without *.",
        "ALLOWED_HOSTS holds *.",
        "Write the names by which browsers reach the console into ALLOWED_HOSTS in .env.",
    )


@register("secure_cookies", "Cookies go over HTTPS only, where it is used", Severity.BLOCKER)
def secure_cookies(context: Context) -> Outcome:
    """Ask for secure cookies once an https origin is trusted. A console beyond this machine needs https."""
    return _none_is(
        context,
        lambda one: one.get("is_https") and not one.get("cookies_secure"),
        "Where the console is served over https, its cookies are https-only.",
        "The console is served over https, and its cookies are not https-only.",
        "Remove what overrides SESSION_COOKIE_SECURE and CSRF_COOKIE_SECURE in the settings.",
    )


@register("alert_channels", "Two ways to raise an alarm", Severity.WARNING)
def alert_channels(context: Context) -> Outcome:
    """Warn when fewer than two alert channels are configured."""
    return _none_is(
        context,
        lambda one: len(one.get("channels")) < 2,
        "Discord and e-mail are configured.",
        "Of the two alert channels, Discord and e-mail, not both are configured.",
        "Set DISCORD_WEBHOOK_URL, and EMAIL_URL with ALERT_EMAIL_TO, in .env.",
    )


@judged_when_asked("ALLOW_LIVE_TRADING", "The master gate is open")
def master_gate(processes: Sequence[ProcessFacts]) -> Outcome:
    """Say whether every running process was started with ALLOW_LIVE_TRADING=1."""
    if (unknown := silence(processes)) is not None:
        return unknown
    shut = [one.name for one in processes if not one.get("gates")["ALLOW_LIVE_TRADING"]["open"]]
    if shut:
        return failed(
            f"ALLOW_LIVE_TRADING is shut at: {_some(shut)}.", f"Set ALLOW_LIVE_TRADING=1 in .env. {START_AGAIN}"
        )
    return ok("ALLOW_LIVE_TRADING is 1 in every process.")
