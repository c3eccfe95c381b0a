"""Changes to what Ray installs and sets when an application starts: pip packages and variables of runtime environments.

Ray allows several forms (docs, "Runtime environments", API reference; ray 2.60): `pip` and `uv` as a list, as
`{packages: [...]}` or as the path of a requirements file. The user's form is kept. What another program would resolve
(a file, `conda`, an image) is not in the manifest and is refused.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.manifests.serve_config import (
    application_name,
    applications,
    changed,
    environment_of,
    nested_environments,
    place_in_config,
    serve_config,
)
from airflow_llm_provisioning.core.manifests.tree import Node, Path, kind_of, shown
from airflow_llm_provisioning.core.recipe import package_name
from airflow_llm_provisioning.exceptions import ManifestError

INSTALLERS: Final = ("pip", "uv")
# `container` is the older name of `image_uri`.
_ELSEWHERE: Final = ("conda", "image_uri", "container")
# A name, perhaps with a version, an address or a marker; no option, no local file, nothing that leaves single quotes.
_REQUIREMENT: Final = re.compile(r"[A-Za-z0-9][^'`$\\\x00-\x1f\x7f]*")


def runtime_pip(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what Ray installs at start, over all applications, in order, each once.

    Raises ManifestError naming application and key for what cannot be baked into an image.
    """
    named: list[str] = []
    for application, path, environment in _environments(serve_config(manifest)):
        for key in _ELSEWHERE:
            if environment.get(key):
                raise _unbakeable(application, (*path, key), "names an environment that is made elsewhere")
        for installer in INSTALLERS:
            named += _packages(environment, installer, path, application)
    return tuple(dict.fromkeys(named))


def with_added_pip(manifest: Mapping[str, Any], requirements: Iterable[str]) -> Node:
    """Return the manifest with these requirements installed at start in every application.

    The user's form and installer are kept; `pip` as a list is the default. A package that the user names without a
    version takes ours. Raises ManifestError where the user requires another version, or in a form that cannot be added
    to.
    """
    added = tuple(requirements)

    def add(config: Node) -> None:
        for path, application in applications(config):
            own = environment_of(application, path)
            place = (*path, "runtime_env")
            _extend(own, added, place, application)
            for nested_path, nested in nested_environments(application, path):
                if any(nested.get(installer) is not None for installer in INSTALLERS):
                    _extend(nested, added, nested_path, application)

    return changed(manifest, add) if added else changed(manifest, lambda _: None)


def without_runtime_pip(manifest: Mapping[str, Any]) -> Node:
    """Return the manifest with nothing installed at start. Raises ManifestError as `runtime_pip` does."""
    runtime_pip(manifest)

    def remove(config: Node) -> None:
        for _, _, environment in _environments(config):
            for installer in INSTALLERS:
                environment.pop(installer, None)

    return changed(manifest, remove)


def runtime_env_vars(manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return application name -> variables of its runtime environment; an application without any has an empty dict."""
    told: dict[str, dict[str, str]] = {}
    for _, application in applications(serve_config(manifest)):
        environment = application.get("runtime_env")
        variables = environment.get("env_vars") if isinstance(environment, dict) else None
        told[application_name(application)] = dict(variables) if isinstance(variables, dict) else {}
    return told


def with_runtime_env_vars(manifest: Mapping[str, Any], variables: Mapping[str, str]) -> Node:
    """Return the manifest with these variables in every application's runtime environment.

    Raises ManifestError where the user sets one to another value.
    """

    def add(config: Node) -> None:
        for path, application in applications(config):
            environment = environment_of(application, path)
            place = (*path, "runtime_env", "env_vars")
            present = environment.get("env_vars") or {}
            if not isinstance(present, dict):
                raise ManifestError(f"{place_in_config(place)} is {kind_of(present)} and must be a mapping.")
            for name, value in variables.items():
                if present.get(name, value) != value:
                    raise ManifestError(
                        f"The variable {shown(name)} cannot be set in application "
                        f"{shown(application_name(application))}: {place_in_config(place)} sets it to another value."
                    )
            environment["env_vars"] = {**present, **variables}

    return changed(manifest, add) if variables else changed(manifest, lambda _: None)


def _environments(config: Node) -> Iterator[tuple[Node, Path, Node]]:
    for path, application in applications(config):
        own = application.get("runtime_env")
        if isinstance(own, dict):
            yield application, (*path, "runtime_env"), own
        for place, nested in nested_environments(application, path):
            yield application, place, nested


def _packages(environment: Node, installer: str, path: Path, application: Node) -> list[str]:
    listed, place = _listed(environment, installer, path)
    if isinstance(listed, str):
        raise _unbakeable(application, place, "names a requirements file, which is not part of the manifest")
    if not isinstance(listed, list):
        raise _unbakeable(application, place, f"is {kind_of(listed)}; allowed is a list of requirements")
    for index, item in enumerate(listed):
        if not isinstance(item, str) or not _REQUIREMENT.fullmatch(item.strip()):
            raise _unbakeable(
                application, (*place, index), "is no plain requirement; allowed is a package with or without version"
            )
    return [item.strip() for item in listed]


def _listed(environment: Node, installer: str, path: Path) -> tuple[Any, Path]:
    """Return what an installer is told to install, as it is written, and where it stands."""
    value, place = environment.get(installer), (*path, installer)
    if isinstance(value, dict):
        value, place = value.get("packages"), (*place, "packages")
    return [] if value is None else value, place


def _extend(environment: Node, added: tuple[str, ...], path: Path, application: Node) -> None:
    installer = next((key for key in INSTALLERS if environment.get(key) is not None), "pip")
    present, place = _listed(environment, installer, path)
    if not isinstance(present, list) or not all(isinstance(item, str) for item in present):
        raise ManifestError(
            f"Application {shown(application_name(application))} cannot install more: {place_in_config(place)} is "
            f"{kind_of(present)}; allowed is a list of texts."
        )
    if any(environment.get(key) for key in _ELSEWHERE):
        raise ManifestError(
            f"Application {shown(application_name(application))} cannot install more: {place_in_config(path)} names "
            "an environment that is made elsewhere, and Ray allows no pip beside it."
        )
    wanted = _reconciled(present, added, place_in_config((*path, installer)), application)
    if wanted == present:
        return
    form = environment.get(installer)
    if isinstance(form, dict):
        form["packages"] = wanted
    else:
        environment[installer] = wanted


def _reconciled(present: list[str], added: tuple[str, ...], place: str, application: Node) -> list[str]:
    """Return both lists as one. A bare name takes the version that the other list gives; two versions are refused."""
    wanted = list(present)
    for item in added:
        index = next((i for i, told in enumerate(wanted) if package_name(told) == package_name(item)), None)
        if index is None:
            wanted.append(item)
        elif _is_bare(wanted[index]):
            wanted[index] = item
        elif not _is_bare(item) and _tight(wanted[index]) != _tight(item):
            raise ManifestError(
                f"Application {shown(application_name(application))} cannot install {shown(item)}: {place} requires "
                f"{shown(wanted[index])}."
            )
    return wanted


def _is_bare(requirement: str) -> bool:
    return _tight(requirement) == package_name(requirement)


def _tight(requirement: str) -> str:
    """Return a requirement as two spellings of it compare equal."""
    name = package_name(requirement)
    rest = re.sub(r"^\s*[A-Za-z0-9._-]+", "", requirement)
    return name + re.sub(r"\s+", "", rest)


def _unbakeable(application: Node, path: Path, words: str) -> ManifestError:
    return ManifestError(
        f"The packages of application {shown(application_name(application))} cannot be baked into an image: "
        f"{place_in_config(path)} {words}."
    )
