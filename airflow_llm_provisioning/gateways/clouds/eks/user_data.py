"""Bottlerocket's user data: TOML below `[settings]`, put together from what finds the cluster and what a profile adds.

A treatment changes nodes by the profile's option `user_data_settings`, a nested mapping of Bottlerocket's settings
(`{"container-runtime": {"snapshotter": "soci"}}`). Sources: toml.io v1.0.0 (keys, strings, inline tables),
bottlerocket.dev (settings reference; user data is TOML with the table `settings`). Standard library reads TOML and does
not write it, so the few forms that settings need are written here.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.exceptions import ConfigurationError

OPTION: Final = "user_data_settings"
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES: Final = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def finds_cluster(profile: NodeProfile) -> dict[str, Any]:
    """Return the settings by which a node finds its cluster.

    From the profile's options `api_server`, `cluster_certificate` (base64, as describe-cluster gives it) and
    `cluster_name`.
    """
    settings = {
        "api-server": profile.options.get("api_server"),
        "cluster-certificate": profile.options.get("cluster_certificate"),
        "cluster-name": profile.options.get("cluster_name"),
    }
    return {"kubernetes": {key: str(value) for key, value in settings.items() if value}}


def added_settings(profile: NodeProfile) -> Mapping[str, Any]:
    """Return the settings that the profile adds, {} without any."""
    return dict(profile.options.get(OPTION) or {})


def user_data(settings: Mapping[str, Any], added: Mapping[str, Any], own: str = "") -> str:
    """Return user data with all these settings. `own`: TOML that the user wrote.

    Two different values of one setting, and what TOML cannot hold, raise a ConfigurationError that names the setting.
    """
    try:
        document = tomllib.loads(own)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"The option user_data is no TOML, which {OPTION} are merged into: {error}."
        ) from error
    for more in (settings, added):
        document = _merged(document, {"settings": more}, "")
    return "\n\n".join(_tables(document, ())) + "\n"


def problems(profile: NodeProfile) -> list[str]:
    """Return why the settings that a profile adds cannot be written, in sentences."""
    wanted = profile.options.get(OPTION)
    if not wanted:
        return []
    if not isinstance(wanted, Mapping):
        return [f"{OPTION} is {wanted!r:.80}: give a mapping such as {{container-runtime: {{snapshotter: soci}}}}."]
    if "settings" in wanted:
        return [f"{OPTION} begins below `settings`: leave that level out."]
    alias = str(profile.options.get("ami_alias", "bottlerocket@latest"))
    by_karpenter = profile.autoscaler == "karpenter"
    if by_karpenter and not alias.startswith("bottlerocket"):
        return [f"{OPTION} are settings of Bottlerocket, and ami_alias is {alias!r}: use bottlerocket@latest."]
    try:
        if by_karpenter:
            # Karpenter itself adds what finds the cluster.
            user_data({}, wanted, str(profile.options.get("user_data") or ""))
        else:
            user_data(finds_cluster(profile), wanted)
    except ConfigurationError as error:
        return [str(error)]
    return []


def _merged(base: Mapping[str, Any], more: Mapping[str, Any], path: str) -> dict[str, Any]:
    merged = dict(base)
    for key, value in more.items():
        where = f"{path}.{key}" if path else str(key)
        held = merged.get(key)
        if isinstance(held, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(held, value, where)
        elif held is None or held == value:
            merged[key] = value
        else:
            raise ConfigurationError(f"The nodes' user data would set {where} to {held!r} and to {value!r}: keep one.")
    return merged


def _tables(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Give the tables in the order of the mapping, each as a header and its own lines."""
    lines = [
        f"{_key(key)} = {_value(value, (*path, str(key)))}"
        for key, value in table.items()
        if not isinstance(value, Mapping)
    ]
    below = {str(key): value for key, value in table.items() if isinstance(value, Mapping)}
    if path and (lines or not below):
        lines.insert(0, f"[{'.'.join(map(_key, path))}]")
    if lines:
        yield "\n".join(lines)
    for key, value in below.items():
        yield from _tables(value, (*path, key))


def _key(key: Any) -> str:
    return str(key) if _BARE_KEY.fullmatch(str(key)) else _string(str(key))


def _value(value: Any, path: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item, path) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_value(item, (*path, str(key)))}' for key, item in value.items())} }}"
    raise ConfigurationError(
        f"The nodes' user data cannot hold {'.'.join(path)} = {value!r}: a setting is text, a number, true or false, "
        "a list or a mapping."
    )


def _string(text: str) -> str:
    """Return a basic string; control characters are escaped, as TOML demands."""
    escaped = (
        _ESCAPES.get(letter) or (f"\\u{ord(letter):04x}" if ord(letter) < 0x20 or ord(letter) == 0x7F else letter)
        for letter in text
    )
    return f'"{"".join(escaped)}"'
