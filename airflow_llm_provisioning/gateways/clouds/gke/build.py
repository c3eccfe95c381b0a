"""build_image: a repository, a Cloud Build with the Dockerfile inside it (no source bucket), a tag for its content.

The build is found again by its tags: the content's, and the attempt's (this very Operation). So a lost reply or a dead
process never starts a second one, and an earlier failed attempt is not taken for this one.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.api_core import exceptions as google

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ, WRITE
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.gke.images import (
    RegistryImage,
    digest_of_tag,
    keep_longer,
    mark_as_ours,
    size_bytes,
)
from airflow_llm_provisioning.gateways.clouds.gke.prices import (
    MACHINE,
    PRICE_USD_MIN,
    build_phases,
    build_price,
    worked_s,
)
from airflow_llm_provisioning.gateways.clouds.gke.services import api_problems
from airflow_llm_provisioning.gateways.clouds.gke.steps import Change, Project, State, seconds_since, step_of
from airflow_llm_provisioning.gateways.clouds.gke.tags import GOOGLE_TAGS, build_tags
from airflow_llm_provisioning.gateways.clouds.tags import preparation_tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import (
    Look,
    Outcome,
    Step,
    TransientError,
    Verb,
    done,
    finished,
    keep_until,
    not_yet,
    raise_problems,
)

DEFAULT_REPOSITORY: Final = "ray-serving"
# The first 100 GB are free (same page); a 10 GiB base needs some 30 unpacked, twice while a layer is committed.
DISK_GB: Final = 100
BUILD_TIMEOUT_S: Final = 7200
# A create whose reply was lost may show up in the list only after a while.
LOST_REPLY_S: Final = 60.0
ACTIVE: Final = frozenset({"STATUS_UNKNOWN", "PENDING", "QUEUED", "WORKING"})
_REPOSITORY: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# Base64, because `$` in an env entry would be taken for one of Cloud Build's substitutions. An empty context: nothing
# but the Dockerfile exists.
_SCRIPT: Final = """#!/usr/bin/env bash
set -euo pipefail
echo "$DOCKERFILE_BASE64" | base64 -d | docker build --tag "$IMAGE" -
"""


class ImageBuild(Verb):
    """The verb `build_image`."""

    name = "build_image"
    limit_s = BUILD_TIMEOUT_S + 1800.0

    def __init__(self, project: Project) -> None:
        self._project = project

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with recipe, repository or machine type."""
        if "recipe" not in request:
            return ["`recipe` is missing"]
        ImageRecipe.from_dict(request["recipe"])
        repository = str(request.get("repository", DEFAULT_REPOSITORY)).partition("/")[0]
        problems = [] if _REPOSITORY.fullmatch(repository) else [f"{repository!r} is no name of a repository"]
        if request.get("machine_type", MACHINE) not in PRICE_USD_MIN:
            problems.append(f"machine type {request['machine_type']!r} is none of {', '.join(PRICE_USD_MIN)}")
        return problems

    def begin(self, operation: Operation) -> Look:
        """Check the APIs and look for the image; write down what will be created."""
        request, project = operation.request, self._project
        problems = api_problems(project, ("artifactregistry.googleapis.com", "cloudbuild.googleapis.com"))
        raise_problems(f"Building an image in project {project.name}", problems)
        repository, _, package = str(request.get("repository", DEFAULT_REPOSITORY)).partition("/")
        host = f"{project.region}-docker.pkg.dev"
        tag = ImageRecipe.from_dict(request["recipe"]).tag()
        reference = f"{host}/{project.name}/{repository}/{package or repository}:{tag}"
        image = RegistryImage.parse(reference)
        attempt = fingerprint({"at": operation.progress["started_at"], "image": reference})
        found = digest_of_tag(project, image) is not None if self._repository(image) else False
        if not found:
            for kind, name in (("repository", image.repository_path), ("image", reference), ("build", reference)):
                self._intend(operation, kind, name)
        return done(image=reference, attempt=attempt, found=found)

    def steps(self, operation: Operation) -> Sequence[Step]:
        """Repository, then build, then digest."""
        image = RegistryImage.parse(operation.progress["image"])
        repository = Change(
            "repository",
            f"create repository {image.repository_path}",
            lambda: self._repository_state(image),
            lambda: self._create_repository(operation, image),
        )
        return (
            step_of(self._project, repository),
            Step("build", lambda running: self._build(running, image), timed=False),
        )

    def clean_up(self, operation: Operation) -> Sequence[str]:
        """Cancel a build of ours that still runs."""
        left = [b for b in self._builds(operation, "attempt") if b.status.name in ACTIVE]
        for build in left:
            with google_errors(f"cancel build {build.id}"):
                self._project.clients.builds.cancel_build(request=self._named(build.id), **WRITE)
        return [f"build {build.id}" for build in left]

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        """Return the image; its price is that of the build that made it."""
        progress, machine = operation.progress, operation.request.get("machine_type", MACHINE)
        price, basis = build_price(machine, progress["worked_s"], progress["reused"])
        made = {key: progress[key] for key in ("image", "digest", "size_bytes", "log_url")}
        return Outcome(made, progress["reused"], price, basis)

    def _build(self, operation: Operation, image: RegistryImage) -> Look:
        build = self._own_build(operation)
        if build is not None:
            return self._follow(operation, image, build)
        digest = digest_of_tag(self._project, image)
        if digest is not None:
            return self._finished(operation, image, digest, None)
        return self._begin_build(operation, image)

    def _intend(self, operation: Operation, kind: str, name: str) -> str:
        return self._project.entries.intend(kind, name, self._labels(operation), keep_until(operation))

    def _labels(self, operation: Operation) -> dict[str, str]:
        content = ImageRecipe.from_dict(operation.request["recipe"]).content
        return GOOGLE_TAGS.spell(preparation_tags_of(operation, content))

    def _repository(self, image: RegistryImage) -> Any:
        with google_errors(f"read repository {image.repository_path}"):
            try:
                found = self._project.clients.registry.get_repository(request={"name": image.repository_path}, **READ)
            except google.NotFound:
                return None
        if found.format_.name != "DOCKER":
            raise ConfigurationError(
                f"Repository {image.repository_path} holds {found.format_.name} packages, no container images: "
                "name another repository."
            )
        return found

    def _repository_state(self, image: RegistryImage) -> State:
        return "done" if self._repository(image) else "absent"

    def _create_repository(self, operation: Operation, image: RegistryImage) -> Mapping[str, str]:
        entry = self._intend(operation, "repository", image.repository_path)
        begun = self._project.clients.registry.create_repository(
            request={
                "parent": self._project.registry_path,
                "repository_id": image.repository,
                "repository": {"format_": "DOCKER", "labels": self._labels(operation)},
            },
            **WRITE,
        )
        self._project.entries.created(entry, image.repository_path)
        return {"kind": "registry", "name": begun.operation.name}

    def _builds(self, operation: Operation, by: str) -> list[Any]:
        """Return the builds of this attempt, or (`content`) all of ours of the same content, newest first."""
        if by == "attempt":
            tag = f"attempt.{operation.progress['attempt']}"
        else:
            tag = next(t for t in build_tags(self._labels(operation)) if "content." in t)
        request = {"parent": self._project.build_path, "filter": f'tags="{tag}"'}
        if self._project.build_location == "global":
            request["project_id"] = self._project.name
        with google_errors(f"list builds in {self._project.build_path}"):
            return [b for b in self._project.clients.builds.list_builds(request=request, **READ) if tag in b.tags]

    def _named(self, build_id: str) -> dict[str, str]:
        project = self._project
        return {"name": f"{project.build_path}/builds/{build_id}", "project_id": project.name, "id": build_id}

    def _own_build(self, operation: Operation) -> Any:
        build_id = operation.progress.get("build_id")
        if build_id:
            with google_errors(f"read build {build_id}"):
                try:
                    return self._project.clients.builds.get_build(request=self._named(build_id), **READ)
                except google.NotFound:
                    # Forgotten by Google, or listed under another place: its image decides.
                    return None
        return next(iter(self._builds(operation, "attempt")), None)

    def _follow(self, operation: Operation, image: RegistryImage, build: Any) -> Look:
        status = build.status.name
        if status in ACTIVE:
            return not_yet(f"building: {status}", build_id=build.id)
        if status != "SUCCESS":
            raise CloudError(
                f"Build {build.id} of {image.reference} ended with {status}: {_why(build)}. Its log: {build.log_url}"
            )
        digest = next((made.digest for made in build.results.images), None) or digest_of_tag(self._project, image)
        if digest is None:
            raise CloudError(f"Build {build.id} succeeded, but {image.reference} is not in the registry: start again.")
        return self._finished(operation, image, digest, build)

    def _begin_build(self, operation: Operation, image: RegistryImage) -> Look:
        if operation.progress.get("build_id"):
            raise CloudError(
                f"Build {operation.progress['build_id']} is no longer known to Cloud Build, and "
                f"{image.reference} was not pushed: start again."
            )
        others = [b for b in self._builds(operation, "content") if b.status.name in ACTIVE]
        if others:
            return not_yet(f"waiting for build {others[0].id} of the same content")
        lost_at = operation.progress.get("reply_lost_at")
        if lost_at and seconds_since(self._project, lost_at) < LOST_REPLY_S:
            return not_yet("starting the build")
        try:
            return self._create_build(operation, image)
        except TransientError as error:
            now = self._project.clock().isoformat()
            return not_yet("starting the build", reply_lost_at=now, trouble=str(error))

    def _create_build(self, operation: Operation, image: RegistryImage) -> Look:
        entry = self._intend(operation, "build", image.reference)
        self._intend(operation, "image", image.reference)
        dockerfile = ImageRecipe.from_dict(operation.request["recipe"]).dockerfile()
        step = {
            "name": "gcr.io/cloud-builders/docker",
            "script": _SCRIPT,
            "env": [
                f"DOCKERFILE_BASE64={base64.b64encode(dockerfile.encode()).decode()}",
                f"IMAGE={image.reference}",
            ],
        }
        build = {
            "steps": [step],
            "images": [image.reference],
            "timeout": {"seconds": BUILD_TIMEOUT_S},
            "tags": [*build_tags(self._labels(operation)), f"attempt.{operation.progress['attempt']}"],
            "options": {
                "machine_type": operation.request.get("machine_type", MACHINE),
                "disk_size_gb": DISK_GB,
                # One must be chosen where the project builds with an account of its own; this one needs no bucket.
                "logging": "CLOUD_LOGGING_ONLY",
            },
        }
        account = operation.request.get("build_service_account")
        if account:
            build["service_account"] = f"projects/{self._project.name}/serviceAccounts/{account}"
        request = {"parent": self._project.build_path, "project_id": self._project.name, "build": build}
        with google_errors(f"build {image.reference}"):
            begun = self._project.clients.builds.create_build(request=request, **WRITE)
        made = begun.metadata.build
        self._project.entries.created(entry, f"{self._project.build_path}/builds/{made.id}")
        return not_yet("building", build_id=made.id)

    def _finished(self, operation: Operation, image: RegistryImage, digest: str, build: Any) -> Look:
        # Found from the start: not ours to mark. Otherwise this operation made it, now or in an earlier process.
        reused = bool(operation.progress.get("found")) and build is None
        if reused:
            keep_longer(self._project, image, digest, keep_until(operation))
        else:
            mark_as_ours(self._project, image, digest, self._labels(operation))
            entry = self._intend(operation, "image", image.reference)
            self._project.entries.created(entry, image.version_path(digest))
            self._project.entries.gone("build", name=image.reference)
        return finished(
            digest=digest,
            size_bytes=size_bytes(self._project, image, digest),
            reused=reused,
            worked_s=worked_s(build),
            log_url=(build.log_url or None) if build is not None else None,
            phases={**(operation.progress.get("phases") or {}), **build_phases(build)},
        )


def _why(build: Any) -> str:
    """Return everything that Cloud Build says of a failure: its own details, and steps that ended with a code."""
    kind = build.failure_info.type_.name if build.failure_info.type_ else ""
    failed = [step for step in build.steps if step.exit_code]
    steps = [f"step {step.id or step.name} ended with exit code {step.exit_code}" for step in failed]
    told = [build.failure_info.detail, build.status_detail, *steps]
    said = "; ".join(dict.fromkeys(text.rstrip(".") for text in told if text))
    return said or (kind if kind and "UNSPECIFIED" not in kind else "no detail given")
