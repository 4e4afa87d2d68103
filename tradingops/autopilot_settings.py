"""The page of the autopilot's settings: all of them but the switch and the real money."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.debug import sensitive_post_parameters

from audit.admin_base import actor_of
from bots.autopilot import config as autopilot_config
from bots.autopilot.config import AutopilotConfigError
from bots.models import AutopilotConfig
from safety.permissions import OPERATE_BOT
from safety.recent_signin import CODE, PASSWORD
from tradingops import autopilot_figures
from tradingops.autopilot_forms import SettingsForm
from tradingops.autopilot_page import SEE, ask_if_live, may_raise, to_page


@sensitive_post_parameters(PASSWORD, CODE)
def settings_page(request: HttpRequest) -> HttpResponse:
    """Show the settings, or save what was changed. What is wrong is said at its field, and what was typed stays."""
    if not request.user.has_perms((SEE, OPERATE_BOT)):
        raise PermissionDenied
    config = autopilot_config.read()
    if request.method != "POST":
        return _show(request, config, SettingsForm(config=config))
    if not may_raise(request, config):
        raise PermissionDenied
    asked = ask_if_live(request, config)
    if asked is not None:
        return asked
    form = SettingsForm(request.POST, config=config)
    if form.is_valid() and _save(request, form, is_real=autopilot_config.is_about_real_money(config)):
        return to_page()
    return _show(request, config, form)


def _save(request: HttpRequest, form: SettingsForm, *, is_real: bool) -> bool:
    """Save what was changed, and say what; return False with the reason on the form where it makes no sense."""
    wanted = form.changed()
    if not wanted:
        messages.info(request, "Nothing was changed.")
        return True
    try:
        reason = form.cleaned_data["reason"]
        autopilot_config.change(wanted, actor=actor_of(request), reason=reason, may_be_real_money=is_real)
    except AutopilotConfigError as wrong:
        form.refused(wrong.problems)
        return False
    names = ", ".join(sorted(name.replace("_", " ").removesuffix(" usd").removesuffix(" pct") for name in wanted))
    messages.success(request, f"Saved: {names}. The next cycle goes by it.")
    return True


def _show(request: HttpRequest, config: AutopilotConfig, form: SettingsForm) -> HttpResponse:
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Autopilot settings",
        "form": form,
        "config": config,
        "at_stake": autopilot_figures.at_stake(config),
        "may_save": may_raise(request, config),
    }
    return TemplateResponse(request, "admin/autopilot/settings.html", context)
