"""Decides which parts of an object are stored in a trace: no secret, no large data without use, no duplicate.

Pure; the recorder calls it before it stores anything. Dropped data are lost, so the rules are few and simple. Values of
environment variables are dropped and their names kept; a short list of switches that are no secrets and decide verdicts
is kept. The data of Secrets and ConfigMaps are dropped. kubectl's last-applied copy is dropped, because it repeats the
environment. managedFields keep manager, operation and time.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, objects
from airflow_llm_provisioning.core.instants import Stamp, parse_stamp

# huggingface_hub constants.py (0.2x to 2.x) reads these variables; the verdicts on the download treatment need their
# values.
KEPT_ENV: Final = frozenset(
    {
        "HF_HUB_ENABLE_HF_TRANSFER",
        "HF_XET_HIGH_PERFORMANCE",
        "HF_HUB_DISABLE_XET",
        "HF_HUB_DISABLE_PROGRESS_BARS",
    }
)
REDACTED: Final = "<redacted>"

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_SECRET_RESOURCES: Final = frozenset({"secrets", "configmaps"})
_SECRET_FIELDS: Final = frozenset({"data", "stringData", "binaryData"})
_MANAGED_KEPT: Final = ("manager", "operation", "subresource", "time")
_BULK: Final = frozenset({"controller_health_metrics"})
# Ray repeats the runtime environment with its variables as JSON text under these names (state API, ray 2.33 to 2.60).
_SERIALISED_ENV: Final = frozenset({"serialized_runtime_env", "serializedRuntimeEnv"})


def redact(resource: str, obj: Any) -> Any:
    """Return a copy of `obj` without the parts that are not stored; `obj` itself is not changed.

    Log texts (`pod-log`, `ray-log-file`) are strings and pass unchanged: the recorder decides which files are read.
    """
    if resource in _SECRET_RESOURCES and isinstance(obj, Mapping):
        obj = {key: value for key, value in obj.items() if key not in _SECRET_FIELDS}
    return _walk(obj, "")


def _walk(value: Any, key: str) -> Any:
    # Data from the wire are str, dict and list, and hundreds of objects a second pass here. A check with an abstract
    # class costs ten times as much.
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, Mapping)):
        if key == "env_vars":
            return {name: _env_value(name, item) for name, item in value.items()}
        return {name: _field(name, item) for name, item in value.items() if _kept(name)}
    if isinstance(value, (list, tuple)):
        if key in ("env", "envs"):
            return [_env_entry(item) for item in value]
        return [_walk(item, "") for item in value]
    return value


def _kept(name: str) -> bool:
    return name not in _BULK and name != _LAST_APPLIED


def _field(name: str, value: Any) -> Any:
    if name == "managedFields" and isinstance(value, (list, tuple)):
        return [{key: item[key] for key in _MANAGED_KEPT if key in item} for item in map(mapping, value)]
    if name in _SERIALISED_ENV and isinstance(value, str) and value not in ("", "{}"):
        return REDACTED
    if name == "serveConfigV2" and isinstance(value, str):
        return _serve_config(value)
    return _walk(value, name)


def _env_entry(entry: Any) -> Any:
    if not isinstance(entry, Mapping) or "value" not in entry:
        return _walk(entry, "")
    return {**entry, "value": _env_value(str(entry.get("name")), entry["value"])}


def _env_value(name: str, value: Any) -> Any:
    return value if name in KEPT_ENV or value in ("", None) else REDACTED


@lru_cache(maxsize=256)
def _serve_config(config: str) -> str:
    """Return Serve's configuration without the values of its `env_vars`; text that is no YAML is replaced completely.

    Results are cached: every version of a RayService repeats the configuration, and parsing YAML is slow.
    """
    import yaml  # imported late: reading traces does not need it

    try:
        parsed = yaml.safe_load(config)
    except (yaml.YAMLError, ValueError, RecursionError):
        return REDACTED
    if not isinstance(parsed, Mapping):
        return REDACTED
    redacted = _walk(parsed, "")
    return config if redacted == parsed else yaml.safe_dump(redacted, sort_keys=False)


class Deduplicator:
    """Recognises versions that a recorder has already received, after a new list or a reconnect.

    A version is (resource, uid, resourceVersion); the deletion is a further version. Lines without a resourceVersion
    (polled answers, marks) are never duplicates.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[str, bool]] = {}

    def is_new(self, resource: str, kind: str | None, obj: Any) -> bool:
        """Return whether this version is new, and remember it. BOOKMARKs are no objects and never new."""
        if kind == "BOOKMARK":
            return False
        uid, version = dig(obj, "metadata", "uid"), dig(obj, "metadata", "resourceVersion")
        if not isinstance(uid, str) or not isinstance(version, str):
            return True
        seen = self._seen.get((resource, uid))
        deleted = kind == "DELETED"
        if seen is not None and (seen[1] or (not deleted and not _newer(version, seen[0]))):
            return False
        self._seen[(resource, uid)] = (version, deleted)
        return True


def _newer(version: str, than: str) -> bool:
    """Compare numbers by size (an etcd revision grows) and other versions for equality only: the API guarantees no
    more.
    """
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


def newest_managed_stamp(obj: Any) -> Stamp | None:
    """Return the newest `managedFields` stamp of an object (the API server's clock, whole seconds), or None."""
    stamps = [parse_stamp(entry.get("time")) for entry in objects(obj, "metadata", "managedFields")]
    return max((stamp for stamp in stamps if stamp), key=lambda stamp: stamp.at, default=None)
