"""The terms of a surrogate: what a trial of a cell waits for, from a world's numbers and the simulator's own functions.

A pull, an installation and a download are computed by the functions that the whole trial calls (`infra.delivery`,
`app.packages`, `app.download`), so neither can disagree with the other. How terms add up is not written down here: the
fit to whole trials decides.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.treatments import deployed_manifest, plan_deployment
from llm_provisioning_simulator.app.application import applications
from llm_provisioning_simulator.app.download import DownloadLimits, DownloadPlan, download_plan, download_s
from llm_provisioning_simulator.app.packages import Installation, installation
from llm_provisioning_simulator.calibration.worlds import EXTRA_OF
from llm_provisioning_simulator.hub import MODELS
from llm_provisioning_simulator.images import seed_public_images
from llm_provisioning_simulator.infra.delivery import pull_s
from llm_provisioning_simulator.instant_trial import InstantTrial, described_cluster, profile_of
from llm_provisioning_simulator.prepared import prepare
from llm_provisioning_simulator.profiles import NOISE, Profile
from llm_provisioning_simulator.world import Image, World

# What head and worker wait for while they start side by side; the later one decides.
_HEAD: Final = ("cpu_node_register_s", "head_start_s", "serve_controller_start_s", "vllm_import_s")
_WORKER: Final = ("gpu_node_register_s", "gpu_plugin_s", "gcs_check_s", "worker_start_s")
_FIRST_TOUCH: Final = ("hydration_first_touch_bytes_s", "stream_first_touch_bytes_s")
_CONTENTS: Final = ("ray_content_bytes", "vllm_content_bytes")
_ANY_TIME: Final = datetime(2025, 2, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Numbers(Profile):
    """A profile in one world, without noise."""

    numbers: Mapping[str, float] = field(default_factory=dict)

    def value(self, name: str) -> float:
        """Return a number of the world."""
        return self.numbers[name]

    def sample(self, name: str, rng: random.Random) -> float:
        """Return a number of the world."""
        return self.numbers[name]


@dataclass(frozen=True, slots=True)
class Mechanisms:
    """What a cell's trials move: the served image, what pip adds, and how the weights are fetched. `read`: the
    uncertain numbers that its trials read, and whether each is a rate, which counts by its inverse; `touched`: rates of
    first reads; `head`, `worker`: what the two wait for while they start side by side.
    """

    cloud: str
    base: Mapping[str, float]
    image: Image
    installed: Installation
    download: DownloadPlan
    weight_files: tuple[int, ...]
    read: tuple[tuple[str, bool], ...]
    touched: tuple[str, ...]
    head: tuple[str, ...]
    worker: tuple[str, ...]

    def terms(self, values: Mapping[str, float], pulls: dict[str, float] | None = None) -> list[float]:
        """Return the terms of a world. `values`: the world's numbers; `pulls`: seconds of pulls already computed for
        this world and cloud, by digest.
        """
        return self.terms_of({**self.base, **values}, {} if pulls is None else pulls)

    def terms_of(self, numbers: Mapping[str, float], pulls: dict[str, float]) -> list[float]:
        """Return the terms of a world. `numbers`: all numbers of its profile; `pulls` as in `terms`."""
        if self.image.digest not in pulls:
            pulls[self.image.digest] = pull_s(self.image, Numbers(self.cloud, "", {}, numbers=numbers), _RNG)
        pull = pulls[self.image.digest]
        installed_s = self._installed_s(numbers)
        touches = [numbers[content] / numbers[rate] for rate in self.touched for content in _CONTENTS]
        head = sum(numbers[name] for name in self.head) + numbers[EXTRA_OF] + installed_s + sum(touches[1:])
        worker = sum(numbers[name] for name in self.worker)
        single = [1e9 / numbers[name] if rate else numbers[name] for name, rate in self.read]
        return [*single, pull, installed_s, self._weights_s(numbers), *touches, head - worker]

    def _installed_s(self, numbers: Mapping[str, float]) -> float:
        return self.installed.seconds(
            rate_bytes_s=numbers["pypi_bytes_s"],
            disk_bytes_s=numbers["disk_write_bytes_s"],
            dirty_bytes=numbers["dirty_page_bytes"],
        )

    def _weights_s(self, numbers: Mapping[str, float]) -> float:
        network_s = download_s(
            self.weight_files,
            self.download,
            connection_bytes_s=numbers["hub_connection_bytes_s"],
            node_bytes_s=min(numbers["hub_node_bytes_s"], numbers["node_link_bytes_s"]),
        )
        kept = max(0.0, sum(self.weight_files) - numbers["dirty_page_bytes"])
        return max(network_s, kept / numbers["disk_write_bytes_s"])


_RNG: Final = random.Random(0)


def mechanisms(trial: InstantTrial, read: frozenset[str]) -> Mechanisms:
    """Return what a cell's trials move, found as the whole trial finds it. `read`: the numbers that it read."""
    target, profile, world = trial.target, profile_of(trial.target), World()
    seed_public_images(world)
    plan = plan_deployment(trial.workload, trial.treatments, trial.setup)
    made = prepare(world, described_cluster(target.cloud, target), target, plan, _ANY_TIME)
    manifest: Mapping[str, Any] = deployed_manifest(plan, trial.workload, made.image)
    container = _ray_container(manifest)
    image = world.find_image(container["image"])
    assert image is not None, "a prepared world holds the image that is served"  # noqa: S101
    (application,) = applications(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    env = {item["name"]: str(item.get("value", "")) for item in container.get("env") or ()}
    env |= dict(application.runtime_env.env_vars)
    installed = installation(image.packages, application.runtime_env.pip)
    assert application.engine is not None, "a trial's application serves a model"  # noqa: S101
    uncertain = tuple(q.name for q in profile.uncertain() if q.name in read and q.name != NOISE and not q.fixed)
    return Mechanisms(
        cloud=target.cloud,
        base={name: item.value for name, item in profile.quantities.items()},
        image=image,
        installed=installed,
        download=download_plan(installed.packages, {**image.env, **env}, _limits(profile)),
        weight_files=MODELS[application.engine.model].weight_files,
        read=tuple((name, name.endswith("bytes_s")) for name in uncertain),
        touched=tuple(name for name in _FIRST_TOUCH if name in uncertain),
        head=tuple(name for name in _HEAD if name in profile.quantities),
        worker=tuple(name for name in _WORKER if name in profile.quantities),
    )


def _ray_container(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    (group, *_) = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    found: Sequence[Mapping[str, Any]] = group["template"]["spec"]["containers"]
    return found[0]


def _limits(profile: Profile) -> DownloadLimits:
    names = DownloadLimits.__dataclass_fields__
    return DownloadLimits(**{name: round(profile.value(name)) for name in names})
