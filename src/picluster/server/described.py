"""What this service is set to, with what each setting means: read from where it is defined, so that it cannot differ.

The meanings are the texts beneath the fields. Secrets are only said to be set.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

from picluster.pool.policy import Policy
from picluster.server.power import PowerRule
from picluster.server.settings import PREFIX, Settings, variables
from picluster.wire import PowerRuleAnswer, SettingAnswer, SettingsAnswer

SECRETS = ("api_key", "admin_token", "url", "webhook_proxy")
"""The address of a database has its password in it, and that of a proxy may have one."""


def described(settings: Settings, power: tuple[PowerRule, ...]) -> SettingsAnswer:
    """All settings, those of the rules behind the others, and who switches power."""
    return SettingsAnswer(tuple(_of_service(settings) + _of_rules(settings.policy)), tuple(map(_rule, power)))


def _of_service(settings: Settings) -> list[SettingAnswer]:
    meanings, usual, names = meanings_of(Settings), Settings.model_fields, variables(Settings)
    return [
        SettingAnswer(
            names[name][0],
            _plain(getattr(settings, name), name in SECRETS),
            _plain(usual[name].default, name in SECRETS),
            meanings.get(name, ""),
            name in SECRETS,
        )
        for name in usual
        if name != "policy"
    ]


def _of_rules(policy: Policy) -> list[SettingAnswer]:
    meanings, usual = meanings_of(Policy), Policy()
    return [
        SettingAnswer(
            f"{PREFIX}POLICY__{name.upper()}", getattr(policy, name), getattr(usual, name), meaning, False
        )
        for name, meaning in meanings.items()
    ]


def _plain(value: Any, secret: bool) -> str | float | bool | None:
    """As JSON takes it; of a secret whether there is one."""
    if secret:
        return bool(value)
    return str(value) if isinstance(value, Path) else value


def _rule(rule: PowerRule) -> PowerRuleAnswer:
    commands = {action: list(command) for action, command in rule.commands.items()}
    return PowerRuleAnswer(rule.machines.text, commands, rule.timeout_s)


@cache
def meanings_of(kind: type) -> Mapping[str, str]:
    """The fields of a class, each with the text beneath it; empty for one without."""
    (definition,) = ast.parse(dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, beneath in pairwise([*definition.body, ast.Pass()]):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            found[field.target.id] = _text(beneath)
    return found


def _text(beneath: ast.stmt) -> str:
    if isinstance(beneath, ast.Expr) and isinstance(beneath.value, ast.Constant):
        return " ".join(str(beneath.value.value).split())
    return ""
