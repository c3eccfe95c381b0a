"""Decides which parts of an object are stored in a trace: no secret, no large data without use, no duplicate.

Pure; the recorder calls it before it stores anything. Dropped data are lost, so the rules are few and simple. Secrets
are replaced by the one redactor (`core.secrets`). The data of Secrets and ConfigMaps are dropped, and so are the copies
of an object in its own annotations. managedFields keep manager, operation and time.
"""

import marshal
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, objects
from airflow_llm_provisioning.core.instants import Stamp, parse_stamp
from airflow_llm_provisioning.core.secrets import KEPT_ENV, REDACTED, Redactor
from airflow_llm_provisioning.core.trace.objects import EVENT_RESOURCES
from airflow_llm_provisioning.exceptions import ManifestError

__all__ = ["KEPT_ENV", "REDACTED", "Deduplicator", "newest_managed_stamp", "redact"]

_SECRET_RESOURCES: Final = frozenset({"secrets", "configmaps"})
_SECRET_FIELDS: Final = frozenset({"data", "stringData", "binaryData"})
_MANAGED_KEPT: Final = ("manager", "operation", "subresource", "time")
_BULK: Final = frozenset({"controller_health_metrics"})
# Ray repeats the runtime environment with its variables as JSON text under these names (state API, ray 2.33 to 2.60).
_SERIALISED_ENV: Final = frozenset({"serialized_runtime_env", "serializedRuntimeEnv"})


def redact(resource: str, obj: Any) -> Any:
    """Return a copy of `obj` without the parts that are not stored; `obj` itself is not changed.

    `obj` of a log (`pod-log`, `agent-log`, `ray-log-file`) is a text.
    """
    if resource in _SECRET_RESOURCES and isinstance(obj, Mapping):
        obj = {key: value for key, value in obj.items() if key not in _SECRET_FIELDS}
    return _TRACE.value(obj)


class _TraceRedactor(Redactor):
    """The redactor with what only recorded objects have."""

    own_fields = _SERIALISED_ENV | {"serveConfigV2", "spec"}

    def field(self, name: str, value: Any, depth: int) -> Any:
        """Return the value of a key as it is stored."""
        if name == "managedFields" and isinstance(value, (list, tuple)):
            return [{key: item[key] for key in _MANAGED_KEPT if key in item} for item in map(mapping, value)]
        if name in _SERIALISED_ENV and isinstance(value, str) and value not in ("", "{}"):
            return REDACTED
        if name == "serveConfigV2" and isinstance(value, str):
            return _serve_config(value)
        if name == "spec" and depth == 1:
            return self._spec(value)
        return self.value(value, name, depth)

    def _spec(self, value: Any) -> Any:
        """Return an object's `spec`. Every version repeats it, and it is most of the object, so it is remembered by its
        digest: the digest holds no secret, and what is remembered has none left.
        """
        try:
            # Version 2 is the last one whose bytes do not depend on which values are the same object.
            told = marshal.dumps(value, 2)
        except ValueError:
            return self.value(value, "spec", 1)
        if len(told) > _SPEC_BYTES:
            return self.value(value, "spec", 1)
        digest = blake2b(told, digest_size=16).digest()
        kept = _SPECS.get(digest)
        if kept is None:
            if len(_SPECS) >= _SPECS_AT_MOST:
                _SPECS.pop(next(iter(_SPECS)))
            kept = _SPECS[digest] = self.value(value, "spec", 1)
        return kept

    def _mapping(self, value: Mapping[str, Any], key: str, depth: int) -> Any:
        dropped = [name for name in value if name in _BULK or (type(name) is str and "last-applied" in name)]
        if dropped:
            value = {name: item for name, item in value.items() if name not in dropped}
        return super()._mapping(value, key, depth)


# Specifications without secrets by the digest of what they were, of all recordings of the process.
_SPECS: Final[dict[bytes, Any]] = {}
_SPECS_AT_MOST: Final = 1024
_SPEC_BYTES: Final = 64 * 1024
_TRACE: Final = _TraceRedactor()


@lru_cache(maxsize=256)
def _serve_config(config: str) -> str:
    """Return Serve's configuration without secrets; text that is no YAML is replaced completely.

    Results are cached: every version of a RayService repeats the configuration, and parsing YAML is slow.
    """
    # Late: reading traces does not need it, and the package of manifests imports the redactor.
    from airflow_llm_provisioning.core.manifests.serve_config import dumped, serve_config

    try:
        parsed = serve_config({"spec": {"serveConfigV2": config}})
    except ManifestError:
        return REDACTED
    redacted = Redactor().value(parsed)
    if not parsed or not isinstance(redacted, dict):
        return REDACTED
    if redacted != parsed:
        return dumped(redacted)
    # Comments are no values. What is hidden in a text need not be YAML any more.
    told = Redactor().text(config)
    return told if told == config or _says(told, parsed) else dumped(redacted)


def _says(config: str, parsed: Mapping[str, Any]) -> bool:
    """Return whether Serve's configuration says the same as another one."""
    from airflow_llm_provisioning.core.manifests.serve_config import serve_config

    try:
        return bool(serve_config({"spec": {"serveConfigV2": config}}) == parsed)
    except ManifestError:
        return False


class Deduplicator:
    """Recognises versions that a recorder has already received, after a new list or a reconnect.

    A version is (resource, uid, resourceVersion); the deletion is a further version. Lines without a resourceVersion
    (polled answers, marks) are never duplicates. Both event APIs show the same stored object, so a version that came by
    one of them is not new by the other (kubernetes, pkg/registry/core/rest: one storage for both groups).
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
        resource = "events" if resource in EVENT_RESOURCES else resource
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
