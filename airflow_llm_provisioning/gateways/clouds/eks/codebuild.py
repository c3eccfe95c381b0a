"""CodeBuild: one project per recipe, its builds, and how they end. It knows no image and no registry.

Builds are found again by project, because StartBuild forgets its idempotency token after five minutes (botocore 1.44,
StartBuild). `buildStatus` decides, never `buildComplete`, which moto never sets.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, absent, error_code, pairs
from airflow_llm_provisioning.gateways.clouds.eks.names import EksNames
from airflow_llm_provisioning.gateways.clouds.eks.tags import name_of, tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import StepFailedError

PROJECT_LIFETIME: Final = timedelta(hours=6)
# CodeBuild's clock and ours may differ a little.
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
_ENDED_BADLY: Final = ("FAILED", "FAULT", "TIMED_OUT", "CLIENT_ERROR", "STOPPED")


class CodeBuild:
    """The project and the builds of an operation; their state is in AWS, none is kept here."""

    def __init__(self, aws: Aws, names: EksNames) -> None:
        self._aws, self._names = aws, names

    def ensure_project(self, operation: Operation, source: str, variables: Mapping[str, str]) -> None:
        """Create the operation's project. `source`: `bucket/key` of the zip; `variables`: its environment."""
        names = self._names
        environment = {
            "type": "LINUX_CONTAINER",
            "image": names.build_image,
            "computeType": names.build_compute_type,
            # docker build needs it.
            "privilegedMode": True,
            "environmentVariables": [
                {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()
            ],
        }
        try:
            self._aws.client("codebuild").create_project(
                name=name_of(operation),
                description="Builds one serving image",
                source={"type": "S3", "location": source},
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

    def running(self, operation: Operation) -> str | None:
        """Return the build of this recipe, of any preparation, that runs or went well since the operation began."""
        codebuild = self._aws.client("codebuild")
        ids = codebuild.list_builds_for_project(projectName=name_of(operation), sortOrder="DESCENDING")["ids"][:20]
        for build in codebuild.batch_get_builds(ids=ids)["builds"] if ids else []:
            if build["buildStatus"] in ("IN_PROGRESS", "SUCCEEDED") and _since(operation, build):
                return str(build["id"])
        return None

    def start(self, operation: Operation) -> str:
        """Start a build; the same operation's token answers with the same build."""
        reply = self._aws.client("codebuild").start_build(
            projectName=name_of(operation), idempotencyToken=operation.progress["token"]
        )
        return str(reply["build"]["id"])

    def look(self, build_id: str) -> tuple[bool, dict[str, Any]]:
        """Return whether a build went well, and {build_id, log_url, build: phase -> seconds} so far; raise if it ended
        otherwise.
        """
        builds = self._aws.client("codebuild").batch_get_builds(ids=[build_id])["builds"]
        if not builds:
            raise StepFailedError(f"CodeBuild no longer knows the build {build_id}")
        build, status = builds[0], builds[0]["buildStatus"]
        known = {"build_id": build_id, "log_url": build.get("logs", {}).get("deepLink"), "build": _phases(build)}
        if status not in ("IN_PROGRESS", "SUCCEEDED"):
            raise StepFailedError(f"the build {build_id} ended as {status}{_why(build)}; log: {known['log_url']}")
        return status == "SUCCEEDED", known

    def stop(self, operation: Operation) -> None:
        """Stop the operation's build, and without one every build of its project."""
        codebuild, build_id = self._aws.client("codebuild"), operation.progress.get("build_id")
        try:
            ids = [build_id] if build_id else codebuild.list_builds_for_project(projectName=name_of(operation))["ids"]
        except AWS_ERRORS as error:
            if not absent(error):
                raise
            return
        for build in codebuild.batch_get_builds(ids=ids)["builds"] if ids else []:
            if build["buildStatus"] == "IN_PROGRESS":
                codebuild.stop_build(id=build["id"])

    def delete_project(self, operation: Operation) -> None:
        """Delete the project; gone already is success. Its builds' logs stay in CloudWatch."""
        try:
            self._aws.client("codebuild").delete_project(name=name_of(operation))
        except AWS_ERRORS as error:
            if not absent(error):
                raise


def _since(operation: Operation, build: Mapping[str, Any]) -> bool:
    """Return whether a build is of this operation's time: an older success whose image was deleted must not count."""
    started_at = build.get("startTime")
    return started_at is None or started_at >= datetime.fromisoformat(operation.progress["started_at"]) - _CLOCKS_DIFFER


def _phases(build: Mapping[str, Any]) -> dict[str, float]:
    """Return CodeBuild's phases that ended: lower-case name -> seconds."""
    return {
        str(phase["phaseType"]).lower(): float(phase["durationInSeconds"])
        for phase in build.get("phases", [])
        if phase.get("durationInSeconds") is not None
    }


def _why(build: Mapping[str, Any]) -> str:
    """Return the failed phases with their codes and messages, which say more than the status."""
    told = []
    for phase in build.get("phases", []):
        if phase.get("phaseStatus") in _ENDED_BADLY:
            contexts = [filter(None, (c.get("statusCode"), c.get("message"))) for c in phase.get("contexts", [])]
            said = "; ".join(filter(None, map(": ".join, contexts)))
            told.append(f"{phase['phaseType']}" + (f" ({said[:300]})" if said else ""))
    return f" in {', then '.join(told)}" if told else ""
