"""What can be known to be wrong with a RayService before a cluster sees it: all problems at once, each with key path.

Only what KubeRay, Kubernetes or Serve would refuse, or what would never become ready; everything else may pass. The
sources are KubeRay 1.7 (CRDs of v1 and v1alpha1, controllers/ray/utils/validation.go) and Ray Serve's schema.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping
from airflow_llm_provisioning.core.manifests.check_options import option_problems
from airflow_llm_provisioning.core.manifests.check_pods import group_problems
from airflow_llm_provisioning.core.manifests.groups import CLUSTER, HEAD, WORKERS
from airflow_llm_provisioning.core.manifests.serve_config import (
    SERVE_CONFIG,
    application_name,
    applications,
    nested_environments,
    place_in_config,
    serve_config,
)
from airflow_llm_provisioning.core.manifests.tree import Path, found, kind_of, path_text, shown
from airflow_llm_provisioning.core.names import MAX_RAYSERVICE_NAME
from airflow_llm_provisioning.exceptions import ManifestError

API_VERSIONS: Final = ("ray.io/v1", "ray.io/v1alpha1")

# KubeRay makes the label `ray.io/group` of it and, in lower case, names of pods (kuberay 1.7, utils.PodName).
_GROUP_NAME: Final = re.compile(r"(?=.{1,63}$)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_COUNTS: Final = ("replicas", "minReplicas", "maxReplicas", "numOfHosts")


def check_ray_service(manifest: Mapping[str, Any]) -> None:
    """Raise a ManifestError naming everything that keeps this from being a RayService we can deploy and measure."""
    problems = list(dict.fromkeys(_problems(manifest)))
    if problems:
        name = shown(dig(manifest, "metadata", "name") or "?")
        raise ManifestError(f"RayService {name} cannot be deployed: {'; '.join(problems[:20])}.")


def name_problems(name: Any) -> list[str]:
    """Return what is wrong with the name of a RayService."""
    if name is None or name == "":
        return ["metadata.name is missing"]
    if not isinstance(name, str):
        return [f"metadata.name is {kind_of(name)} ({shown(name)}) and must be text (quote it)"]
    if len(name) > MAX_RAYSERVICE_NAME:
        return [f"its name has {len(name)} characters and KubeRay allows {MAX_RAYSERVICE_NAME}"]
    # A Service is named after it (kuberay 1.7, utils.ValidateRayServiceMetadata: a DNS-1035 label).
    if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name):
        return ["its name must be lower-case letters, digits and hyphens, and begin with a letter"]
    return []


def _problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    kind, version = manifest.get("kind"), manifest.get("apiVersion")
    if kind != "RayService" or not str(version).startswith("ray.io/"):
        yield f"it is a {_word(version)} {_word(kind)}, not a ray.io RayService"
        return
    if version not in API_VERSIONS:
        yield f"apiVersion is {shown(version)}; allowed are {' and '.join(API_VERSIONS)}"
    yield from name_problems(dig(manifest, "metadata", "name"))
    yield from _label_problems(mapping(manifest.get("metadata")))
    yield from _cluster_problems(manifest)
    yield from option_problems(manifest)
    if found(manifest, ("spec", "serveConfig")) is not None:
        yield "spec.serveConfig is no longer read by KubeRay; write the text spec.serveConfigV2 instead"
    try:
        yield from _serve_problems(manifest)
    except ManifestError as error:
        yield str(error).rstrip(".")


def _word(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 100 else "?"


def _label_problems(metadata: Mapping[str, Any]) -> Iterator[str]:
    for key in ("labels", "annotations"):
        texts = metadata.get(key)
        if texts is not None and not isinstance(texts, Mapping):
            yield f"metadata.{key} is {kind_of(texts)} and must be a mapping"
            continue
        for name, value in mapping(texts).items():
            if not isinstance(value, str):
                yield f"{path_text(('metadata', key, str(name)))} is {kind_of(value)} and must be text"


def _cluster_problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    cluster = found(manifest, CLUSTER)
    if not mapping(cluster):
        yield f"{path_text(CLUSTER)} is missing"
        return
    switch = cluster.get("enableInTreeAutoscaling")
    if switch is not None and not isinstance(switch, bool):
        yield f"{path_text((*CLUSTER, 'enableInTreeAutoscaling'))} is {kind_of(switch)} and must be true or false"
    options = cluster.get("autoscalerOptions")
    if options is not None and not isinstance(options, Mapping):
        yield f"{path_text((*CLUSTER, 'autoscalerOptions'))} is {kind_of(options)} and must be a mapping"
    yield from group_problems(cluster.get("headGroupSpec"), HEAD)
    yield from _worker_problems(cluster.get("workerGroupSpecs"))


def _worker_problems(groups: Any) -> Iterator[str]:
    if groups is None:
        return
    if not isinstance(groups, list):
        yield f"{path_text(WORKERS)} is {kind_of(groups)} and must be a list"
        return
    places: dict[str, str] = {}
    for index, group in enumerate(groups):
        path = (*WORKERS, index)
        yield from group_problems(group, path)
        if not isinstance(group, Mapping):
            continue
        yield from _count_problems(group, path)
        name = group.get("groupName")
        if not isinstance(name, str) or not name:
            yield f"{path_text((*path, 'groupName'))} is missing"
        elif name in places:
            yield f"{path_text((*path, 'groupName'))} is {shown(name)}, as {places[name]}; names must differ"
        elif not _GROUP_NAME.fullmatch(name):
            yield (
                f"{path_text((*path, 'groupName'))} is {shown(name)}; it becomes a label and a part of pods' names, so "
                "it must be at most 63 letters, digits, hyphens and points"
            )
        else:
            places[name] = path_text(path)


def _count_problems(group: Mapping[str, Any], path: Path) -> Iterator[str]:
    for key in _COUNTS:
        value = group.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31):
            yield f"{path_text((*path, key))} is {shown(value)} and must be a whole number from 0"


def _serve_problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    written = found(manifest, ("spec", "serveConfigV2"))
    if written is not None and not isinstance(written, str):
        yield (
            f"{SERVE_CONFIG} names no application: it is {kind_of(written)} and must be text (`serveConfigV2: |`), "
            "so nothing would ever become ready"
        )
        return
    listed = applications(serve_config(manifest))
    if not listed:
        yield f"{SERVE_CONFIG} names no application, so nothing would ever become ready"
    names: set[str] = set()
    yield from _route_problems(listed)
    for path, application in listed:
        name = application_name(application)
        if name in names:
            yield f"{place_in_config(path)} has the name {shown(name)} of another application; names must differ"
        names.add(name)
        if not isinstance(application.get("import_path"), str) or not application["import_path"]:
            yield f"{place_in_config((*path, 'import_path'))} is missing"
        yield from _environment_problems(application, path)


def _route_problems(listed: Sequence[tuple[Path, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield what Serve refuses of the paths under which applications answer (ray/serve/schema.py, 2.4 to 2.5x)."""
    routes: dict[str, str] = {}
    for path, application in listed:
        # Serve's default; null means an application that is reached by others only.
        route, place = application.get("route_prefix", "/"), place_in_config((*path, "route_prefix"))
        if route is None:
            continue
        if not isinstance(route, str) or not route.startswith("/"):
            yield f"{place} is {shown(route)} and must begin with `/`"
        elif len(route) > 1 and route.endswith("/"):
            yield f"{place} is {shown(route)} and must not end with `/`"
        elif "{" in route or "}" in route:
            yield f"{place} is {shown(route)}; Serve allows no wildcards in it"
        elif route in routes:
            yield f"{place} is {shown(route)}, as {routes[route]}; Serve allows each path once"
        else:
            routes[route] = place


def _environment_problems(application: Mapping[str, Any], path: Path) -> Iterator[str]:
    own = application.get("runtime_env")
    if own is not None and not isinstance(own, dict):
        yield f"{place_in_config((*path, 'runtime_env'))} is {kind_of(own)} and must be a mapping"
    environments = [((*path, "runtime_env"), own)] if isinstance(own, dict) else []
    for place, environment in [*environments, *nested_environments(application, path)]:
        variables = environment.get("env_vars")
        if variables is not None and not isinstance(variables, Mapping):
            yield f"{place_in_config((*place, 'env_vars'))} is {kind_of(variables)} and must be a mapping"
        for name, value in mapping(variables).items():
            # Ray raises for anything but text (ray/_private/runtime_env/validation.py, parse_and_validate_env_vars).
            if not isinstance(value, str):
                yield f"{place_in_config((*place, 'env_vars', name))} is {kind_of(value)} and must be text (quote it)"
