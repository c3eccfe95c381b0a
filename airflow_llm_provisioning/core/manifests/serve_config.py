"""Serve's configuration inside a RayService: the text `spec.serveConfigV2`, read with limits, changed and written.

What is not changed keeps its keys, order and texts; comments do not survive a change. Pip packages are read and changed
in every runtime environment of an application: its own, its deployments' and, for `ray.serve.llm`, each model's.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.fields import mapping
from airflow_llm_provisioning.core.manifests.compose import compose
from airflow_llm_provisioning.core.manifests.tree import Node, Path, copied, found, kind_of, path_text
from airflow_llm_provisioning.core.manifests.values import json_value
from airflow_llm_provisioning.exceptions import ManifestError

SERVE_CONFIG: Final = "spec.serveConfigV2"


def serve_config(manifest: Mapping[str, Any]) -> Node:
    """Return Serve's configuration as a dict of its own; empty where there is none.

    Raises ManifestError for text that is no YAML mapping or exceeds the limits of a manifest.
    """
    written = found(manifest, ("spec", "serveConfigV2"))
    if not isinstance(written, str):
        return {}
    documents = [json_value(item, where=SERVE_CONFIG, lenient=True) for item in compose(written, SERVE_CONFIG)]
    if len(documents) > 1:
        raise ManifestError(f"{SERVE_CONFIG} holds {len(documents)} documents; allowed is one.")
    return documents[0] if documents and isinstance(documents[0], dict) else {}


def applications(config: Mapping[str, Any]) -> list[tuple[Path, Node]]:
    """Return key path (inside the configuration) and dict of every application."""
    listed = config.get("applications")
    listed = listed if isinstance(listed, list) else []
    return [(("applications", index), item) for index, item in enumerate(listed) if isinstance(item, dict)]


def application_name(application: Mapping[str, Any]) -> str:
    """Return an application's name; Serve's default is `default`."""
    return str(application.get("name", "default"))


def serve_applications(manifest: Mapping[str, Any]) -> list[str]:
    """Return the names of the Serve applications a RayService deploys. Raises ManifestError for what is no YAML."""
    return [application_name(application) for _, application in applications(serve_config(manifest))]


def nested_environments(application: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Node]]:
    """Return the runtime environments inside an application, its own excepted.

    A deployment's (Ray Serve schema, `ray_actor_options.runtime_env`) and a model's (ray.serve.llm, `LLMConfig`)
    replace `pip` of the application's.
    """
    for place, item in _items(application, ("deployments",)):
        options = mapping(item.get("ray_actor_options"))
        if isinstance(options.get("runtime_env"), dict):
            yield (*path, *place, "ray_actor_options", "runtime_env"), options["runtime_env"]
    for place, item in _items(application, ("args", "llm_configs")):
        if isinstance(item.get("runtime_env"), dict):
            yield (*path, *place, "runtime_env"), item["runtime_env"]


def changed(manifest: Mapping[str, Any], change: Callable[[Node], None]) -> Node:
    """Return a copy of a manifest with its Serve configuration changed; the text stays if nothing in it differs."""
    made: Node = copied(manifest)
    before = serve_config(manifest)
    after: Node = copied(before)
    change(after)
    if after != before:
        spec = made["spec"]
        spec["serveConfigV2"] = dumped(after)
    return made


def dumped(value: Any) -> str:
    """Return a value as YAML: keys in the given order, long texts as blocks, nothing that another parser reads anew."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and quotes what go-yaml would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# go-yaml reads `1e3`, `0o17` and `y` as number and truth value, PyYAML as text. Line breaks other than a line feed are
# read as one unless they are escaped.
_QUOTED: Final = re.compile(r"[-+.0-9].*|[yYnN~]|.*[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff].*", re.DOTALL)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _QUOTED.fullmatch(value) else "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _items(application: Mapping[str, Any], keys: Path) -> Iterator[tuple[Path, Node]]:
    listed = found(application, keys)
    for index, item in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(item, dict):
            yield (*keys, index), item


def place_in_config(path: Path) -> str:
    """Return a key path inside the configuration as text, from the manifest's top."""
    return f"{SERVE_CONFIG}: {path_text(path)}"


def environment_of(application: Node, path: Path) -> Node:
    """Return an application's own runtime environment, made if absent."""
    environment = application.get("runtime_env")
    if environment is None:
        environment = application["runtime_env"] = {}
    if not isinstance(environment, dict):
        raise ManifestError(
            f"{place_in_config((*path, 'runtime_env'))} is {kind_of(environment)} and must be a mapping."
        )
    return environment
