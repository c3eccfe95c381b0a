"""The judge: what the simulator holds, against what the results store and the tasks say.

It reads the simulator's memory, never an API, and knows by a listing before the first task what is another owner's.
"""

import asyncio
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.result import TrialStatus
from crashes.runs import DagRun
from crashes.scene import BUDGET_S, Scene, trial_id
from llm_provisioning_simulator.infra.cluster import SimulatedCluster
from llm_provisioning_simulator.server import MADE_UP_SECRET, Simulator

Things = dict[tuple[str, str], str]
"""(kind, name) -> its content, as far as only a client can change it."""

DEFECTS: Final = (
    "leaked",
    "doubled",
    "foreign_touched",
    "falsely_clean",
    "rows_lost",
    "rows_wrong",
    "unfinished",
    "secrets_told",
)
# The simulator's connections have it as token, secret key and client secret.
CANARY: Final = MADE_UP_SECRET
_IN_CLUSTER: Final = ("rayservices", "rayclusters", "pods", "services", "leases", "configmaps", "secrets", "nodes")
_FOREIGN: Final = "somebody-else"
# UUIDs and hex ids, random parts of names (Kubernetes' five), numbers.
_GENERATED: Final = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,}|(?<=-)[bcdfghjklmnpqrstvwxz2456789]{5}(?![a-z])|\d+"
)
# Stamps of Kubernetes are whole seconds.
_STAMP_S: Final = 1.001


def inventory(simulator: Simulator, cloud: str) -> Things:
    """Return everything that exists."""
    found: Things = {}
    for name, cluster in simulator.clusters.items():
        found |= dict(_in_cluster(name, cluster))
    stand_in: Any = simulator.cloud(cloud)
    found |= dict({"eks": _on_aws, "gke": _on_google, "aks": _on_azure}[cloud](stand_in, simulator))
    return found


def plant(simulator: Simulator, cloud: str) -> None:
    """Create what belongs to another owner: some of it with our labels copied onto it."""
    copied = {"app.kubernetes.io/managed-by": "airflow-llm-provisioning", "llm-provisioning/target": f"{cloud}-fast"}
    for cluster in simulator.clusters.values():
        for resource in ("configmaps", "secrets", "services"):
            for name, labels in (("theirs", {}), ("copied", copied)):
                body: dict[str, Any] = {"metadata": {"name": f"{_FOREIGN}-{name}", "labels": dict(labels)}}
                body |= {"spec": {"ports": [{"port": 80}]}} if resource == "services" else {}
                cluster.store.create(resource, body, namespace="default", manager=_FOREIGN)
    if cloud == "eks":
        _plant_on_aws(simulator)


def _plant_on_aws(simulator: Simulator) -> None:
    stand_in: Any = simulator.cloud("eks")
    moto, region = stand_in.compute._moto, stand_in.region
    ec2, ecr, s3 = moto.backend("ec2", region), moto.backend("ecr", region), moto.backend("s3", "aws")
    volume = ec2.create_volume(size=10, zone_name=f"{region}a")
    snapshot = ec2.create_snapshot(volume.id, "theirs")
    ec2.create_tags([snapshot.id, volume.id], {"app.kubernetes.io/managed-by": _FOREIGN})
    ecr.create_repository(_FOREIGN, None, None, None, "MUTABLE", None, None)
    s3.create_bucket(_FOREIGN, region)


def _in_cluster(where: str, cluster: SimulatedCluster) -> Iterator[tuple[tuple[str, str], str]]:
    for resource in _IN_CLUSTER:
        for item in cluster.store.list(resource):
            metadata = item["metadata"]
            namespace = metadata.get("namespace", "")
            if resource == "configmaps" and namespace == "elotl":
                continue  # the node autoscaler's own, which a preparation is there to write
            content = {key: item.get(key) for key in ("spec", "data")} if resource != "nodes" else {}
            labels = metadata.get("labels") if resource != "nodes" else None
            told = json.dumps([content, labels], sort_keys=True, default=str)
            yield (resource, f"{where}/{namespace}/{metadata['name']}"), told


def _on_aws(stand_in: Any, simulator: Simulator) -> Iterator[tuple[tuple[str, str], str]]:
    moto, region = stand_in.compute._moto, stand_in.region
    ec2 = moto.backend("ec2", region)
    machines = [instance for reservation in ec2.reservations.values() for instance in reservation.instances]
    gone = ("terminated", "shutting-down")
    found = {
        "instance": [machine.id for machine in machines if machine._state.name not in gone],
        "volume": [volume.id for volume in ec2.volumes.values()],
        "snapshot": [snapshot.id for snapshot in ec2.snapshots.values()],
        "project": list(moto.backend("codebuild", region).codebuild_projects),
        "parameter": [name for name in map(str, moto.backend("ssm", region)._parameters) if "llm" in name],
    }
    yield from (((kind, str(name)), "") for kind, names in found.items() for name in names)
    for repository in moto.backend("ecr", region).repositories.values():
        yield ("repository", repository.name), ""
        for image in repository.images:
            yield ("image", f"{repository.name}@{image.get_image_digest()}"), ""
    for bucket in moto.backend("s3", "aws").buckets.values():
        yield ("bucket", bucket.name), ""
        for key in bucket.keys:
            yield ("bucket_object", f"{bucket.name}/{key}"), ""


def _on_google(stand_in: Any, simulator: Simulator) -> Iterator[tuple[tuple[str, str], str]]:
    for name in stand_in.registry.repositories:
        yield ("repository", name), ""
    for reference, image in simulator.world.images.items():
        if "pkg.dev" in reference:
            yield ("image", f"{reference}@{image.digest}"), ""
    for name, build in stand_in.builds.builds.items():
        if build["status"] in ("QUEUED", "WORKING", "PENDING"):
            yield ("build", name), ""
    compute = stand_in.compute
    for kind, known in (("instance", compute.instances), ("disk", compute.disks), ("disk_image", compute.images)):
        for key in known:
            yield (kind, str(key)), ""
    yield from _pools(simulator)


def _on_azure(stand_in: Any, simulator: Simulator) -> Iterator[tuple[tuple[str, str], str]]:
    for reference, image in simulator.world.images.items():
        if "azurecr.io" in reference:
            yield ("image", f"{reference}@{image.digest}"), ""
    for key in simulator.world.aks_converted:
        yield ("streaming_artifact", "@".join(map(str, key))), ""
    for name, run in stand_in.tasks.runs.items():
        if run.status in ("Queued", "Started", "Running"):
            yield ("build", name), ""
    yield from _pools(simulator)


def _pools(simulator: Simulator) -> Iterator[tuple[tuple[str, str], str]]:
    for cluster in simulator.world.clusters.values():
        for pool in cluster.pools.values():
            yield ("node_pool", f"{cluster.name}/{pool.name}"), f"{pool.min_nodes}..{pool.max_nodes}"


@dataclass
class Watcher:
    """What happened in the clusters, as it happened: RayServices side by side, and when an endpoint became ready."""

    created_at: float | None = None
    ready_at: float | None = None
    most_rayservices: int = 0
    deleted_at: float | None = None
    """When its deletion was first asked for."""
    nodes: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Node -> when it was created, and how many GPUs it has."""

    def watch(self, cluster: SimulatedCluster) -> list["asyncio.Task[None]"]:
        """Begin to watch a cluster."""
        looks = (self._services(cluster), self._endpoints(cluster), self._nodes(cluster))
        return [asyncio.ensure_future(work) for work in looks]

    async def _services(self, cluster: SimulatedCluster) -> None:
        async for kind, _, item in cluster.store.subscribe("rayservices"):
            now = asyncio.get_running_loop().time()
            self.most_rayservices = max(self.most_rayservices, len(cluster.store.list("rayservices")))
            if kind == "ADDED":
                self.created_at, self.ready_at, self.deleted_at = now, None, None
            if kind == "DELETED" or item["metadata"].get("deletionTimestamp"):
                self.deleted_at = now if self.deleted_at is None else self.deleted_at

    async def _endpoints(self, cluster: SimulatedCluster) -> None:
        async for _, _, item in cluster.store.subscribe("endpointslices"):
            named = (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
            ready = any((one.get("conditions") or {}).get("ready") for one in item.get("endpoints") or ())
            if named.endswith("-serve-svc") and ready and self.ready_at is None:
                self.ready_at = asyncio.get_running_loop().time()

    async def _nodes(self, cluster: SimulatedCluster) -> None:
        async for kind, _, item in cluster.store.subscribe("nodes"):
            name, now = item["metadata"]["name"], asyncio.get_running_loop().time()
            since, gpus = self.nodes.get(name, (now, 0))
            has = int((item.get("status", {}).get("capacity") or {}).get("nvidia.com/gpu") or 0)
            if kind != "DELETED":
                self.nodes[name] = (since, max(gpus, has))

    def overrun_s(self, gpu_s: float) -> float | None:
        """Return for how long the trial went on after its nodes had used so many GPU seconds; None: it did not end."""
        if self.created_at is None or self.deleted_at is None:
            return None
        used = [(max(since, self.created_at), gpus) for since, gpus in self.nodes.values() if gpus]
        # With every node counted from its own creation: when the sum of all reached the limit.
        total = sum(gpus for _, gpus in used)
        over_at = (gpu_s + sum(since * gpus for since, gpus in used)) / total if used else self.deleted_at
        return max(0.0, self.deleted_at - over_at)


@dataclass
class Judgement:
    """What one play showed."""

    found: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in DEFECTS})
    overrun_s: float | None = None
    ended_early: bool = False
    """Whether the reaper was not run, because it would have met what it met before."""

    def tell(self, defect: str, sentence: str) -> None:
        """Note a defect."""
        self.found[defect].append(sentence)

    def counts(self) -> dict[str, int]:
        """Return how many plays (0 or 1) showed each defect."""
        return {name: int(bool(told)) for name, told in self.found.items()}


@dataclass(frozen=True)
class Played:
    """One play: what existed before and after, and what the tasks said."""

    scene: Scene
    before: Things
    after: Things
    runs: tuple[DagRun, ...]
    watcher: Watcher
    entries: list[str]
    """Names of what the ledger's open entries stood for before the reaper."""
    reaped: Mapping[str, Any] | None
    """What the reaper said; None where it was not run."""
    at_last: Things
    """What existed after the reaper."""


def made(played: Played) -> Counter[str]:
    """Return how many things of each kind a play left."""
    return Counter(kind for kind, _ in played.after.keys() - played.before.keys())


def state_of(things: Things, entries: Iterable[str], results: Mapping[str, Any]) -> str:
    """Return a state as text in which two plays are equal that differ in instants, counts of seconds and generated ids
    only. `entries`: names in the ledger; `results`: what the tasks returned.
    """
    told = json.dumps([sorted(map(str, things.items())), sorted(entries), results], sort_keys=True, default=str)
    return _GENERATED.sub("*", told)


def judge(played: Played, good: Mapping[str, int]) -> Judgement:
    """Judge a play; `good`: what a play without a fault leaves."""
    told = Judgement()
    _foreign(played, told)
    _left(played, good, told)
    _ledger(played, told)
    _reaper(played, told)
    limited = played.scene.experiment.budget is not None
    for run in played.runs:
        failed = [task for task, state in run.states.items() if state == "failed"]
        if limited and failed == ["wait"]:
            told.overrun_s = played.watcher.overrun_s(BUDGET_S)
        elif failed:
            told.tell("unfinished", f"{failed}: {run.errors}")
    store = open_store()
    try:
        for nightly in played.runs[1:]:
            _rows(played, nightly, store.trials(run_id=nightly.run_id), told)
        _preparations(played, store, told)
        _secrets(played, store, told)
    finally:
        store.close()
    return told


def _secrets(played: Played, store: Any, told: Judgement) -> None:
    """Nothing that is kept anywhere may hold a credential of a connection."""
    places = {
        f"Airflow's database, {run.dag_id}": [*run.kept, json.dumps(run.results), *run.errors] for run in played.runs
    }
    rows = [*(row for run in played.runs for row in store.trials(run_id=run.run_id)), *store.ledger.open_entries()]
    places["rows and ledger"] = [repr(row) for row in rows]
    places["preparations"] = [repr(row) for row in store.preparations()]
    places["recording"] = [gzip.decompress(piece).decode() for piece in store.trace(str(trial_id(played.scene)))]
    places["the reaper"] = [json.dumps(played.reaped, default=str)]
    for place, texts in places.items():
        found = next((text for text in texts if CANARY in text), None)
        if found is not None:
            told.tell("secrets_told", f"{place}: ...{found[max(0, found.find(CANARY) - 80) :][:100]}")


def _foreign(played: Played, told: Judgement) -> None:
    for things in (played.after, played.at_last):
        for thing, content in played.before.items():
            if thing[0] != "nodes" and things.get(thing) != content:
                told.tell("foreign_touched", f"{thing}: {content[:80]} -> {str(things.get(thing))[:80]}")
    if played.watcher.most_rayservices > 1:
        told.tell("doubled", f"{played.watcher.most_rayservices} RayServices at once")


def _left(played: Played, good: Mapping[str, int], told: Judgement) -> None:
    """What is kept for the trials must be there once; what is left of anything else is the reaper's."""
    for kind, number in made(played).items():
        names = [name for found, name in played.after.keys() - played.before.keys() if found == kind]
        if number > good.get(kind, number):
            told.tell("doubled", f"{number} {kind} instead of {good[kind]}: {names}")


def _reaper(played: Played, told: Judgement) -> None:
    if played.reaped is None:
        return
    left = [thing for thing in played.at_last.keys() - played.before.keys() if thing[0] != "nodes"]
    if left:
        told.tell("leaked", f"{left} after the reaper said: {played.reaped['sentence']}")
    if left and played.reaped["clean"]:
        told.tell("falsely_clean", f"the reaper said {played.reaped['sentence']!r}, and {left} exist")
    if not left and not played.reaped["clean"]:
        told.tell("unfinished", f"nothing is left, and the reaper said: {played.reaped['sentence']}")


def _rows(played: Played, nightly: DagRun, rows: list[Any], told: Judgement) -> None:
    if not rows:
        told.tell("rows_lost", f"no row; {nightly.states} {nightly.errors}")
        return
    row = rows[-1]
    succeeded = nightly.states.get("wait") == "success"
    limited = played.scene.experiment.budget is not None
    if limited and not succeeded and row.status is not TrialStatus.OVER_BUDGET:
        told.tell("rows_wrong", f"{row.status} ({row.reason}) although its budget was used up")
    if len(rows) > 1:
        told.tell(
            "rows_wrong", f"{len(rows)} rows: {[(item.trial_id, str(item.status), item.reason) for item in rows]}"
        )
    if succeeded and row.status is not TrialStatus.SUCCEEDED:
        told.tell("rows_wrong", f"{row.status} ({row.reason}) although every task succeeded")
    if row.status is TrialStatus.SUCCEEDED:
        _total(played.watcher, row, told)
    trial = [thing for thing in played.after if thing[0] in ("rayservices", "rayclusters", "pods")]
    left = [thing for thing in trial if thing not in played.before]
    if left and row.status is not TrialStatus.NOT_DELETED:
        told.tell("falsely_clean", f"{row.status}, and {left} exist")


def _total(watcher: Watcher, row: Any, told: Judgement) -> None:
    if watcher.created_at is None or watcher.ready_at is None:
        told.tell("rows_wrong", "succeeded, and no endpoint was ever ready")
        return
    true_s = watcher.ready_at - watcher.created_at
    low, high = row.total_low_s, row.total_high_s
    if low is None or high is None or not low - _STAMP_S <= true_s <= high + _STAMP_S:
        told.tell("rows_wrong", f"total {row.total_s} in {low}..{high}, truly {true_s:.3f}")


def recorded() -> list[str]:
    """Return our name and the cloud's of everything that has an open entry in the ledger."""
    store = open_store()
    try:
        return [text for entry in store.ledger.open_entries() for text in (entry.name, entry.identity) if text]
    finally:
        store.close()


def _ledger(played: Played, told: Judgement) -> None:
    for kind, name in played.after.keys() - played.before.keys():
        if kind in ("bucket", "nodes", "volume"):
            continue  # a bucket is the account's; nodes and volumes go with what asked for them
        if not any(_same(text, name) for text in played.entries):
            told.tell("falsely_clean", f"no open ledger entry of {kind} {name}: {played.entries}")


def _same(text: str, name: str) -> bool:
    short = name.rpartition("/")[2]
    return text in name or short in text or short.partition("@")[0].partition(":")[0] in text


def _preparations(played: Played, store: Any, told: Judgement) -> None:
    prepared = played.runs[0]
    target = played.scene.experiment.targets[0].name
    rows = store.preparations(target)
    done = [task for task, state in prepared.states.items() if state == "success"]
    if len(rows) < len(done):
        told.tell("rows_lost", f"{len(rows)} rows of preparations for {done}")
