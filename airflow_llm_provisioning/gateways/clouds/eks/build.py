"""The serving image, built by CodeBuild and kept in ECR: no Docker where Airflow runs.

The tag follows from the recipe's content, so the same recipe is never built twice. The build's source is a zip in S3
(Dockerfile and buildspec); its project is made for one recipe and deleted afterwards.
"""

from collections.abc import Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.eks import prices
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, absent, error_code
from airflow_llm_provisioning.gateways.clouds.eks.codebuild import PROJECT_LIFETIME, CodeBuild
from airflow_llm_provisioning.gateways.clouds.eks.locations import AwsLocations
from airflow_llm_provisioning.gateways.clouds.eks.names import DOCS, EksNames
from airflow_llm_provisioning.gateways.clouds.eks.source import BUILDSPEC, build_source
from airflow_llm_provisioning.gateways.clouds.eks.tags import by_content, name_of
from airflow_llm_provisioning.gateways.clouds.eks.verb import EksVerb
from airflow_llm_provisioning.gateways.clouds.verbs import Look, Step, StepFailedError, done, not_yet
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

DEFAULT_REPOSITORY: Final = "ray-serving"


class BuildImage(EksVerb):
    """The verb `build_image`: request {recipe, repository, target, keep_days} -> result {image, digest, size_bytes,
    reused, seconds, price_usd, price_basis, log_url, phases}.
    """

    name = "build_image"
    free = "an image of the same recipe is used"

    def __init__(self, aws: Aws, entries: LedgerEntries, names: EksNames) -> None:
        super().__init__(aws, entries, names)
        self._builds, self._locations = CodeBuild(aws, names), AwsLocations(aws, entries)

    def _begin(self, operation: Operation) -> Look:
        """Check the recipe and the account; an image of this recipe that exists ends the operation at once."""
        request = operation.request
        recipe = ImageRecipe.from_dict(request.get("recipe") or {})
        repository = request.get("repository") or DEFAULT_REPOSITORY
        operation = by_content(
            operation,
            recipe.content,
            repository=repository,
            tag=recipe.tag(),
            image=f"{self._aws.registry()}/{repository}:{recipe.tag()}",
            bucket=self._names.source_bucket or f"llm-provisioning-{self._aws.account()}-{self._aws.region}",
        )
        existing = self._locations.image(operation)
        if existing:
            self._keep(operation, existing["digest"])
            return self._reusing(operation, **existing)
        self._check_role()
        for kind in ("repository", "bucket", "project", "image"):
            self._intend(kind, operation)
        return done(**operation.progress)

    def steps(self, operation: Operation) -> Sequence[Step]:
        """Return the steps from the repository to the digest."""
        limits = self._names.deadlines
        return (
            Step("ensuring the repository", self._ensure_repository, limits.short_s),
            Step("uploading the source", self._upload, limits.short_s),
            Step("ensuring the project", self._ensure_project, limits.short_s),
            Step("building", self._build, limits.build_s),
            Step("reading the digest", self._read_digest, limits.short_s),
            Step("deleting the project", self._delete_temporary, limits.short_s),
        )

    # --- steps

    def _ensure_repository(self, operation: Operation) -> Look:
        self._locations.ensure_repository(operation, self._intend("repository", operation))
        return done()

    def _upload(self, operation: Operation) -> Look:
        if not self._names.source_bucket:
            self._locations.ensure_bucket(operation, self._intend("bucket", operation))
        dockerfile = ImageRecipe.from_dict(operation.request["recipe"]).dockerfile()
        self._locations.put(operation, _source_key(operation), build_source(dockerfile, BUILDSPEC))
        return done()

    def _ensure_project(self, operation: Operation) -> Look:
        entry, image = self._intend("project", operation), operation.progress["image"]
        variables = {"IMAGE": image, "REGISTRY": image.partition("/")[0]}
        self._builds.ensure_project(operation, f"{operation.progress['bucket']}/{_source_key(operation)}", variables)
        self._entries.created(entry, name_of(operation))
        return done()

    def _build(self, operation: Operation) -> Look:
        build_id = operation.progress.get("build_id") or self._builds.running(operation)
        if build_id is None and self._locations.image(operation):
            # Another preparation of the same recipe has pushed it meanwhile.
            return done(shared=True)
        ended, known = self._builds.look(build_id or self._builds.start(operation))
        return done(**known) if ended else not_yet(**known)

    def _read_digest(self, operation: Operation) -> Look:
        found = self._locations.image(operation)
        if not found:
            raise StepFailedError(
                f"build {operation.progress.get('build_id')} went well, but ECR has no {operation.progress['image']}"
            )
        self._entries.created(self._intend("image", operation), f"{operation.progress['repository']}@{found['digest']}")
        return done(**found)

    def _delete_temporary(self, operation: Operation) -> Look:
        self._locations.remove(operation, _source_key(operation))
        self._builds.delete_project(operation)
        self._entries.gone("project", name=name_of(operation))
        return done()

    # --- before and after

    def clean_up(self, operation: Operation) -> Sequence[str]:
        """Stop the build, delete project and source. Repository and bucket are meant to stay."""
        self._builds.stop(operation)
        self._delete_temporary(operation)
        if not self._locations.image(operation):
            self._entries.gone("image", name=_image_name(operation))
        return ()

    def _keep(self, operation: Operation, digest: str) -> None:
        """Keep the image, with its repository, as long as this operation wants it, if the repository is ours."""
        repository = operation.progress["repository"]
        if self._locations.keep_repository(operation):
            self._entries.created(self._intend("repository", operation), repository)
            self._entries.created(self._intend("image", operation), f"{repository}@{digest}")

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
        names = {
            "repository": operation.progress["repository"],
            "bucket": operation.progress["bucket"],
            "project": name_of(operation),
            "image": _image_name(operation),
        }
        return self._intended(kind, names[kind], operation, PROJECT_LIFETIME if kind == "project" else None)

    def _made(self, operation: Operation) -> dict[str, Any]:
        progress = operation.progress
        return {
            "image": progress["image"],
            "digest": progress["digest"],
            "size_bytes": progress["size_bytes"],
            "log_url": progress.get("log_url"),
        }

    def _phases(self, operation: Operation) -> dict[str, float]:
        build = operation.progress.get("build", {})
        return {**super()._phases(operation), **{f"build: {name}": value for name, value in build.items()}}

    def _price(self, operation: Operation, seconds: float) -> tuple[float | None, str]:
        build, phases = operation.progress.get("build", {}), operation.progress.get("phases", {})
        if operation.progress.get("shared"):
            return 0.0, "another preparation built it; its row has the price"
        # Time in the queue is not charged; everything from provisioning on is.
        charged = sum(value for name, value in build.items() if name not in ("submitted", "queued"))
        return prices.build_price(
            self._aws.region, self._names.build_compute_type, charged or phases.get("building", seconds)
        )


def _image_name(operation: Operation) -> str:
    return f"{operation.progress['repository']}:{operation.progress['tag']}"


def _source_key(operation: Operation) -> str:
    return f"llm-provisioning/{operation.progress['content']}.zip"
