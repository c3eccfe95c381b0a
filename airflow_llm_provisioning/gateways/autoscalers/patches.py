"""Changes to rendered Kubernetes objects that a profile asks for: `patches`, one JSON merge patch (RFC 7386) per kind.

With them a treatment of another package changes nodes without a change here. A patch applies to every rendered object
of its kind, and never changes which object that is.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile

OPTION: Final = "patches"
_IDENTITY: Final = ("apiVersion", "kind")


def patched(profile: NodeProfile, manifests: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the objects with the profile's patches applied."""
    patches = profile.options.get(OPTION) or {}
    return [dict(merged(manifest, patches.get(manifest["kind"]) or {})) for manifest in manifests]


def problems(profile: NodeProfile, kinds: Iterable[str]) -> list[str]:
    """Return why the profile's patches cannot be applied, in sentences. `kinds`: what is rendered for it."""
    patches, rendered = profile.options.get(OPTION) or {}, sorted(set(kinds))
    if not isinstance(patches, Mapping):
        return [f"{OPTION} is {patches!r:.80}: give a mapping of a kind to a JSON merge patch."]
    found = []
    for kind, patch in patches.items():
        if kind not in rendered:
            known = f"its objects are {', '.join(rendered)}" if rendered else "it renders no Kubernetes objects"
            found.append(f"{OPTION} names {kind!r}, and {profile.autoscaler} does not render that: {known}.")
        elif not isinstance(patch, Mapping):
            found.append(f"{OPTION}.{kind} is {patch!r:.80}: give a JSON merge patch, a mapping.")
        elif _changes_identity(patch):
            found.append(f"{OPTION}.{kind} would make it another object: leave apiVersion, kind and metadata.name out.")
    return found


def merged(target: Any, patch: Any) -> Any:
    """Return the target under a JSON merge patch: mappings merge, null removes, all else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _changes_identity(patch: Mapping[str, Any]) -> bool:
    metadata = patch.get("metadata", {})
    named = not isinstance(metadata, Mapping) or bool({"name", "namespace"} & set(metadata))
    return named or any(key in patch for key in _IDENTITY)
