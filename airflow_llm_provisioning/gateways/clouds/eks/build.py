"""The serving image, built by CodeBuild and kept in ECR: no Docker where Airflow runs.

The tag follows from the recipe's content, so the same recipe is never built twice. The build's source is a zip in S3
(Dockerfile and buildspec). The project is made for one recipe and deleted afterwards; builds are found again by
project, because StartBuild forgets its idempotency token after five minutes (botocore 1.44, StartBuild).
`buildStatus` decides, never `buildComplete`.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.eks import prices as eks_prices
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, Books, absent, error_code, pairs
from airflow_llm_provisioning.gateways.clouds.eks.names import DOCS, EksNames
from airflow_llm_provisioning.gateways.clouds.eks.steps import (
    Look,
    Procedure,
    Step,
    StepFailedError,
    begun,
    done,
    expires_at,
    name_of,
    not_yet,
    seconds_since_start,
    tags_of,
)

DEFAULT_REPOSITORY: Final = "ray-serving"
PROJECT_LIFETIME: Final = timedelta(hours=6)
# `docker push` only after a build that went well: post_build runs after a failed one too.
BUILDSPEC: Final = """\
version: 0.2
phases:
  pre_build:
    commands:
      - aws ecr get-login-password | docker login --username AWS --password-stdin "$REGISTRY"
  build:
    commands:
      - docker build --tag "$IMAGE" .
  post_build:
    commands:
      - if [ "$CODEBUILD_BUILD_SUCCEEDING" = "1" ]; then docker push "$IMAGE"; fi
"""
# Zip entries carry a date; a fixed one keeps the same source the same bytes.
_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)


class BuildImage:
    """The verb `build_image`: request {recipe, repository, target, keep_days} -> result {image, digest, size_bytes,
    reused, seconds, price_usd, price_basis, log_url, phases}.
    """

    def __init__(self, aws: Aws, books: Books, names: EksNames, clock: Callable[[], datetime]) -> None:
        self._aws, self._books, self._names, self._clock = aws, books, names, clock

    def start(self, request: Mapping[str, Any]) -> Operation:
        """Check the recipe and the account; an image of this recipe that exists ends the operation at once."""
        recipe = ImageRecipe.from_dict(request.get("recipe") or {})
        repository = request.get("repository") or DEFAULT_REPOSITORY
        operation = begun(
            "build_image",
            request,
            recipe.content,
            self._clock(),
            repository=repository,
            tag=recipe.tag(),
            image=f"{self._aws.registry()}/{repository}:{recipe.tag()}",
            bucket=self._names.source_bucket or f"llm-provisioning-{self._aws.account()}-{self._aws.region}",
        )
        existing = self._image(operation)
        if existing:
            operation = operation.at("done", reused=True, **existing)
            return operation.succeeded(**self._result(operation))
        self._check_role()
        for kind in ("repository", "bucket", "project", "image"):
            self._intend(kind, operation)
        return operation

    def poll(self, operation: Operation) -> Operation:
        """Look once, do the next step."""
        limits = self._names.deadlines
        steps = (
            Step("ensuring the repository", limits.short_s, self._ensure_repository),
            Step("uploading the source", limits.short_s, self._upload),
            Step("ensuring the project", limits.short_s, self._ensure_project),
            Step("building", limits.build_s, self._build),
            Step("reading the digest", limits.short_s, self._read_digest),
            Step("deleting the project", limits.short_s, self._delete_temporary),
        )
        procedure = Procedure(steps, self._clean_up, self._result, self._clock, self._aws)
        return procedure.poll(operation)

    # --- steps

    def _ensure_repository(self, operation: Operation) -> Look:
        repository = operation.progress["repository"]
        entry = self._intend("repository", operation)
        try:
            self._aws.client("ecr").create_repository(
                repositoryName=repository, tags=pairs(tags_of(operation)), imageTagMutability="MUTABLE"
            )
        except AWS_ERRORS as error:
            if error_code(error) != "RepositoryAlreadyExistsException":
                raise
        self._books.created(entry, repository)
        return done()

    def _upload(self, operation: Operation) -> Look:
        s3, bucket = self._aws.client("s3"), operation.progress["bucket"]
        if not self._names.source_bucket:
            self._ensure_bucket(operation)
        recipe = ImageRecipe.from_dict(operation.request["recipe"])
        s3.put_object(Bucket=bucket, Key=_source_key(operation), Body=_source(recipe.dockerfile()))
        return done()

    def _ensure_bucket(self, operation: Operation) -> None:
        s3, bucket = self._aws.client("s3"), operation.progress["bucket"]
        entry = self._intend("bucket", operation)
        where = {} if self._aws.region == "us-east-1" else {"LocationConstraint": self._aws.region}
        try:
            s3.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": where} if where else {}))
        except AWS_ERRORS as error:
            if error_code(error) != "BucketAlreadyOwnedByYou":
                raise
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": pairs(tags_of(operation))})
        self._books.created(entry, bucket)

    def _ensure_project(self, operation: Operation) -> Look:
        names, progress = self._names, operation.progress
        entry = self._intend("project", operation)
        environment = {
            "type": "LINUX_CONTAINER",
            "image": names.build_image,
            "computeType": names.build_compute_type,
            # docker build needs it.
            "privilegedMode": True,
            "environmentVariables": [
                {"name": "IMAGE", "value": progress["image"], "type": "PLAINTEXT"},
                {"name": "REGISTRY", "value": progress["image"].partition("/")[0], "type": "PLAINTEXT"},
            ],
        }
        try:
            self._aws.client("codebuild").create_project(
                name=name_of(operation),
                description="Builds one serving image",
                source={"type": "S3", "location": f"{progress['bucket']}/{_source_key(operation)}"},
                artifacts={"type": "NO_ARTIFACTS"},
                environment=environment,
                serviceRole=names.codebuild_role_arn,
                # CodeBuild's own limit comes first: its status says more than our deadline.
                timeoutInMinutes=max(5, int(names.deadlines.build_s // 60) - 5),
                queuedTimeoutInMinutes=30,
                tags=pairs(tags_of(operation, PROJECT_LIFETIME), "key", "value"),
            )
        except AWS_ERRORS as error:
            if error_code(error) != "ResourceAlreadyExistsException":
                raise
        self._books.created(entry, name_of(operation))
        return done()

    def _build(self, operation: Operation) -> Look:
        build_id = operation.progress.get("build_id") or self._started(operation)
        builds = self._aws.client("codebuild").batch_get_builds(ids=[build_id])["builds"]
        if not builds:
            raise StepFailedError(f"CodeBuild no longer knows the build {build_id}")
        build, status = builds[0], builds[0]["buildStatus"]
        known = {"build_id": build_id, "log_url": build.get("logs", {}).get("deepLink"), "build": _phases(build)}
        if status == "IN_PROGRESS":
            return not_yet(**known)
        if status != "SUCCEEDED":
            raise StepFailedError(f"the build {build_id} ended as {status}{_why(build)}; log: {known['log_url']}")
        return done(**known)

    def _started(self, operation: Operation) -> str:
        """Return the build that runs or went well for this recipe, or start one."""
        codebuild, project = self._aws.client("codebuild"), name_of(operation)
        ids = codebuild.list_builds_for_project(projectName=project, sortOrder="DESCENDING")["ids"][:20]
        if ids:
            builds = codebuild.batch_get_builds(ids=ids)["builds"]
            for build in builds:
                if build["buildStatus"] in ("IN_PROGRESS", "SUCCEEDED") and _since(operation, build):
                    return str(build["id"])
        reply = codebuild.start_build(projectName=project, idempotencyToken=operation.progress["token"])
        return str(reply["build"]["id"])

    def _read_digest(self, operation: Operation) -> Look:
        found = self._image(operation)
        if not found:
            raise StepFailedError(
                f"build {operation.progress.get('build_id')} went well, but ECR has no {operation.progress['image']}"
            )
        self._books.created(self._intend("image", operation), f"{operation.progress['repository']}@{found['digest']}")
        return done(**found)

    def _delete_temporary(self, operation: Operation) -> Look:
        self._aws.client("s3").delete_object(Bucket=operation.progress["bucket"], Key=_source_key(operation))
        self._aws.client("codebuild").delete_project(name=name_of(operation))
        self._books.gone("project", name=name_of(operation))
        return done()

    # --- before and after

    def _clean_up(self, operation: Operation) -> list[str]:
        """Stop the build, delete project and source. Repository and bucket are meant to stay."""
        codebuild = self._aws.client("codebuild")
        build_id = operation.progress.get("build_id")
        try:
            ids = [build_id] if build_id else codebuild.list_builds_for_project(projectName=name_of(operation))["ids"]
        except AWS_ERRORS as error:
            if not absent(error):
                raise
            ids = []
        for build in codebuild.batch_get_builds(ids=ids)["builds"] if ids else []:
            if build["buildStatus"] == "IN_PROGRESS":
                codebuild.stop_build(id=build["id"])
        try:
            self._delete_temporary(operation)
        except AWS_ERRORS as error:
            if not absent(error):
                raise
            self._books.gone("project", name=name_of(operation))
        if not self._image(operation):
            self._books.gone("image", name=_image_name(operation))
        return []

    def _image(self, operation: Operation) -> dict[str, Any]:
        """Return {digest, size_bytes} of the recipe's image in ECR, or nothing."""
        try:
            details = self._aws.client("ecr").describe_images(
                repositoryName=operation.progress["repository"], imageIds=[{"imageTag": operation.progress["tag"]}]
            )["imageDetails"]
        except AWS_ERRORS as error:
            if not absent(error):
                raise
            return {}
        if not details:
            return {}
        return {"digest": details[0]["imageDigest"], "size_bytes": details[0].get("imageSizeInBytes")}

    def _check_role(self) -> None:
        role = self._names.codebuild_role_arn
        if not role or ":role/" not in role:
            raise ConfigurationError(
                f"The serving image cannot be built: codebuild_role_arn is {role!r}. CodeBuild needs a service role: "
                f"make it as {DOCS} says (docs/iam/eks-codebuild-role.json) and name its ARN in the connection."
            )
        try:
            self._aws.client("iam").get_role(RoleName=role.rpartition("/")[2])
        except AWS_ERRORS as error:
            if absent(error):
                raise ConfigurationError(
                    f"The serving image cannot be built: the role {role} does not exist; make it as {DOCS} says."
                ) from error
            if "Denied" not in error_code(error):
                raise

    def _intend(self, kind: str, operation: Operation) -> str:
        progress = operation.progress
        names = {
            "repository": progress["repository"],
            "bucket": progress["bucket"],
            "project": name_of(operation),
            "image": _image_name(operation),
        }
        lifetime = PROJECT_LIFETIME if kind == "project" else None
        return self._books.intend(kind, names[kind], tags_of(operation, lifetime), expires_at(operation, lifetime))

    def _result(self, operation: Operation) -> dict[str, Any]:
        progress = operation.progress
        reused = bool(progress.get("reused"))
        build = progress.get("build", {})
        price, basis = (0.0, "an image of the same recipe is used") if reused else self._price(build, progress)
        return {
            "image": progress["image"],
            "digest": progress["digest"],
            "size_bytes": progress["size_bytes"],
            "reused": reused,
            "seconds": seconds_since_start(operation, self._clock()),
            "price_usd": price,
            "price_basis": basis,
            "log_url": progress.get("log_url"),
            "phases": {**progress.get("phases", {}), **{f"build: {name}": value for name, value in build.items()}},
        }

    def _price(self, build: Mapping[str, float], progress: Mapping[str, Any]) -> tuple[float | None, str]:
        # Time in the queue is not charged; everything from provisioning on is.
        charged = sum(value for name, value in build.items() if name not in ("submitted", "queued"))
        seconds = charged or progress.get("phases", {}).get("building", 0.0)
        return eks_prices.build_price(self._aws.region, self._names.build_compute_type, seconds)


def _image_name(operation: Operation) -> str:
    return f"{operation.progress['repository']}:{operation.progress['tag']}"


def _source_key(operation: Operation) -> str:
    return f"llm-provisioning/{operation.progress['content']}.zip"


def _source(dockerfile: str) -> bytes:
    """Return the build's source: the same content gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (("Dockerfile", dockerfile), ("buildspec.yml", BUILDSPEC)):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), text)
    return buffer.getvalue()


def _since(operation: Operation, build: Mapping[str, Any]) -> bool:
    """Return whether a build is of this operation's time: an older success whose image was deleted must not count."""
    started_at = build.get("startTime")
    # CodeBuild's clock and ours may differ a little.
    return started_at is None or started_at >= datetime.fromisoformat(operation.progress["started_at"]) - timedelta(
        minutes=5
    )


def _phases(build: Mapping[str, Any]) -> dict[str, float]:
    """Return CodeBuild's phases that ended: lower-case name -> seconds."""
    return {
        str(phase["phaseType"]).lower(): float(phase["durationInSeconds"])
        for phase in build.get("phases", [])
        if phase.get("durationInSeconds") is not None
    }


def _why(build: Mapping[str, Any]) -> str:
    """Return the failed phase and its message, which say more than the status."""
    for phase in build.get("phases", []):
        if phase.get("phaseStatus") in ("FAILED", "FAULT", "TIMED_OUT", "CLIENT_ERROR", "STOPPED"):
            said = "; ".join(item.get("message", "") for item in phase.get("contexts", []) if item.get("message"))
            return f" in {phase['phaseType']}" + (f" ({said[:300]})" if said else "")
    return ""
