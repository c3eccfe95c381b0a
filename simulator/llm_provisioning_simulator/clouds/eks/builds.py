"""CodeBuild as it behaves: builds take virtual time, read their source, run their buildspec, and push what they built.

moto keeps the projects and hurries the builds; here they have phases with durations, one of the real statuses at the
end, and a result that follows from the Dockerfile in the source. What the buildspec does not say is not done.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import yaml

from llm_provisioning_simulator.images import DockerfileError, built_image
from llm_provisioning_simulator.wheels import CPU_S_PER_BYTE
from llm_provisioning_simulator.world import Image, World

# Seconds, unless named otherwise.
BUILD_DURATIONS: Final[Mapping[str, float]] = {
    # Queue, provisioning, source and finalizing: the phases of the sample of `batch-get-builds` in aws-cli's pages (a
    # Windows container, 2019). For a LARGE Linux container assumed: 0 to 60, 10 to 60, 1 to 15, 1 to 5.
    "queued_s": 0.0,
    "provisioning_s": 34.0,
    "source_s": 15.0,
    "finalizing_s": 2.0,
    "base_pull_bytes_s": 55.0e6,  # assumed, 30 to 100: docker pull and unpack; BPC's 32 MB/s was a two-CPU machine
    "wheel_bytes_s": 40.0e6,  # assumed, 20 to 100: pip's downloads
    "layer_s_per_byte": 1.0 / 60e6,  # assumed, 30 to 120 MB/s: committing and compressing the new layer
    "push_bytes_s": 80.0e6,  # assumed, 50 to 150; awslabs/data-on-eks copied 11.6 GB into ECR in 82 s with skopeo
}
ENDED: Final = ("SUCCEEDED", "FAILED", "FAULT", "TIMED_OUT", "STOPPED")


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase: its length, and how it ends."""

    name: str
    seconds: float
    status: str = "SUCCEEDED"
    message: str = ""


@dataclass(slots=True)
class Build:
    """One build. `phases` are planned when it starts; `pushes` is what its end leaves in the registry."""

    build_id: str
    project: str
    region: str
    started_at: datetime
    phases: list[Phase]
    final: str
    pushes: Image | None
    token: str
    stopped_at: datetime | None = None
    settled: bool = False
    environment: dict[str, Any] = field(default_factory=dict)

    def ends_at(self) -> datetime:
        """Return when the build ends (or ended, if it was stopped)."""
        planned = self.started_at + timedelta(seconds=sum(phase.seconds for phase in self.phases))
        return min(planned, self.stopped_at) if self.stopped_at else planned

    def status(self, now: datetime) -> str:
        """Return `buildStatus` at an instant."""
        if self.stopped_at is not None and now >= self.stopped_at:
            return "STOPPED"
        return self.final if now >= self.ends_at() else "IN_PROGRESS"

    def as_json(self, now: datetime, account: str) -> dict[str, Any]:
        """Return it as BatchGetBuilds does."""
        status, begin, phases = self.status(now), self.started_at, []
        for phase in self.phases:
            end = begin + timedelta(seconds=phase.seconds)
            if begin > now or (self.stopped_at and begin >= self.stopped_at):
                break
            entry: dict[str, Any] = {"phaseType": phase.name, "startTime": begin}
            if end <= now:
                entry |= {"endTime": end, "durationInSeconds": round(phase.seconds), "phaseStatus": phase.status}
                if phase.message:
                    entry["contexts"] = [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": phase.message}]
            phases.append(entry)
            begin = end
        group = f"/aws/codebuild/{self.project}"
        stream = self.build_id.partition(":")[2]
        build = {
            "id": self.build_id,
            "arn": f"arn:aws:codebuild:{self.region}:{account}:build/{self.build_id}",
            "projectName": self.project,
            "buildStatus": status,
            "currentPhase": phases[-1]["phaseType"] if status == "IN_PROGRESS" and phases else "COMPLETED",
            "buildComplete": status != "IN_PROGRESS",
            "startTime": self.started_at,
            "phases": phases,
            "environment": self.environment,
            "logs": {
                "groupName": group,
                "streamName": stream,
                "deepLink": f"https://console.aws.amazon.com/cloudwatch/home?region={self.region}#logEvent:group={group};stream={stream}",
            },
        }
        return build if status == "IN_PROGRESS" else {**build, "endTime": self.ends_at()}


def plan_build(
    world: World,
    project: Mapping[str, Any],
    source: bytes | None,
    repository_exists: Callable[[str], bool],
    region: str,
    now: datetime,
    durations: Mapping[str, float],
    fault: str | None,
) -> tuple[list[Phase], str, Image | None]:
    """Return (phases, final status, image pushed at the end or None) of a build of this project begun now."""
    phases = [
        Phase("SUBMITTED", 0.0),
        Phase("QUEUED", durations["queued_s"]),
        Phase("PROVISIONING", durations["provisioning_s"]),
    ]
    if fault == "FAULT":
        return (
            [*phases[:2], Phase("PROVISIONING", durations["provisioning_s"], "FAULT", "internal service error")],
            "FAULT",
            None,
        )
    if source is None:
        return [*phases, Phase("DOWNLOAD_SOURCE", 1.0, "FAILED", "no such key in the source bucket")], "FAILED", None
    phases.append(Phase("DOWNLOAD_SOURCE", durations["source_s"]))
    try:
        run = _Run(world, project, source, repository_exists, region, now, durations)
        phases += run.phases()
    except _StepFailedError as error:
        return (
            [
                *phases,
                Phase(error.phase, error.seconds, "FAILED", str(error)),
                Phase("FINALIZING", durations["finalizing_s"]),
            ],
            "FAILED",
            None,
        )
    if fault == "TIMED_OUT":
        limit = 60.0 * float(project.get("timeoutInMinutes") or 60)
        return [*phases[:4], Phase("BUILD", limit, "TIMED_OUT", "build timed out")], "TIMED_OUT", None
    if fault == "FAILED":
        failed = Phase("BUILD", 20.0, "FAILED", "Error while executing command: docker build. Reason: exit status 1")
        return [*phases[:5], failed, Phase("FINALIZING", durations["finalizing_s"])], "FAILED", None
    return [*phases, Phase("FINALIZING", durations["finalizing_s"]), Phase("COMPLETED", 0.0)], "SUCCEEDED", run.pushed


class _StepFailedError(Exception):
    def __init__(self, phase: str, message: str, seconds: float = 5.0) -> None:
        super().__init__(message)
        self.phase, self.seconds = phase, seconds


class _Run:
    """The buildspec of one build, carried out on paper."""

    def __init__(
        self,
        world: World,
        project: Mapping[str, Any],
        source: bytes,
        repository_exists: Callable[[str], bool],
        region: str,
        now: datetime,
        durations: Mapping[str, float],
    ) -> None:
        self._world, self._region, self._now, self._durations = world, region, now, durations
        self._repository_exists = repository_exists
        environment = project.get("environment", {})
        self._privileged = bool(environment.get("privilegedMode"))
        self._variables = {item["name"]: item["value"] for item in environment.get("environmentVariables", [])}
        with zipfile.ZipFile(io.BytesIO(source)) as archive:
            self._files = {name: archive.read(name).decode() for name in archive.namelist()}
        self._built: dict[str, Image] = {}
        self._signed_in = False
        self.pushed: Image | None = None

    def phases(self) -> list[Phase]:
        spec = yaml.safe_load(self._files.get("buildspec.yml") or "")
        if not spec:
            raise _StepFailedError("DOWNLOAD_SOURCE", "YAML_FILE_ERROR: buildspec.yml is missing")
        found = []
        for name in ("install", "pre_build", "build", "post_build"):
            commands = ((spec.get("phases") or {}).get(name) or {}).get("commands", [])
            seconds = sum(self._run(name.upper(), command) for command in commands)
            found.append(Phase(name.upper(), seconds))
        return found

    def _run(self, phase: str, command: str) -> float:
        text = re.sub(r"\$\{?(\w+)\}?", lambda match: self._variables.get(match[1], ""), command).replace('"', "")
        if "docker login" in text:
            self._signed_in = True
            return 3.0
        if "docker build" in text:
            return self._docker_build(phase, text)
        if "docker push" in text:
            return self._docker_push(phase, text)
        return 0.0

    def _docker_build(self, phase: str, text: str) -> float:
        if not self._privileged:
            raise _StepFailedError(phase, "Cannot connect to the Docker daemon: the project is not privileged")
        tag = re.search(r"(?:--tag|-t)[ =](\S+)", text)
        try:
            image = built_image(
                self._world,
                self._files.get("Dockerfile", ""),
                tag[1] if tag else "",
                region=self._region,
                now=self._now,
            )
        except DockerfileError as error:
            raise _StepFailedError(phase, f"Error while executing command: docker build. {error}", 10.0) from error
        self._built[image.reference] = image
        base = self._world.find_image(self._files["Dockerfile"].split()[1])
        base_bytes = base.compressed_bytes if base else 0
        added = image.compressed_bytes - base_bytes
        durations = self._durations
        return (
            base_bytes / durations["base_pull_bytes_s"]
            + added / durations["wheel_bytes_s"]
            + added * (CPU_S_PER_BYTE + durations["layer_s_per_byte"])
        )

    def _docker_push(self, phase: str, text: str) -> float:
        reference = text.split("docker push", 1)[1].split(";")[0].strip()
        image = self._built.get(reference)
        if image is None:
            raise _StepFailedError(phase, f"docker push: no such image {reference}")
        if not self._signed_in:
            raise _StepFailedError(phase, "docker push: no basic auth credentials")
        if not self._repository_exists(image.repository.partition("/")[2]):
            raise _StepFailedError(
                phase, f"docker push: name unknown: the repository {image.repository} does not exist"
            )
        self.pushed = image
        return image.compressed_bytes / self._durations["push_bytes_s"]


def manifest(image: Image) -> str:
    """Return an OCI manifest of an image. As its size moto reports the configuration's: it names all bytes."""
    layers = [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": size, "digest": f"{image.digest}-{number}"}
        for number, size in enumerate(image.layer_bytes)
    ]
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"size": image.compressed_bytes, "digest": image.digest},
            "layers": layers,
        }
    )
