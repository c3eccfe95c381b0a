"""Proof of readiness: no misbehaving server counts as ready, and every correct one does.

Each server is behind its own API server, over HTTP. The shipped prober sends requests through that API server's service
proxy, to all servers at once. A stalling server is probed for longer than one attempt.
"""

import asyncio
import sys
from random import Random
from typing import Any, Final

from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.completion_probe import CompletionProbe
from airflow_llm_provisioning.gateways.recording.scope import Scope
from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.app.openai import MISBEHAVIOURS, SOME_REPLICAS, WELL_BEHAVED, OpenAiServer
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.kube.backend import Answer, PodRequest
from llm_provisioning_simulator.kube.server import KubeServer
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.profiles import load_profile
from proof import Size

MODEL: Final = "microsoft/Phi-3-mini-4k-instruct"
RAYSERVICE: Final = "llm-model-serve"
NAMESPACE: Final = "default"
# The servers' clock; one attempt lasts one minute of it, and at least five real seconds.
SPEED: Final = 20.0
MIN_LIMIT_S: Final = 8.0
# A correct server passes in a second or two; a busy machine must not make it fail.
GOOD_LIMIT_S: Final = 60.0
USUAL: Final = ""


def prove(size: Size) -> dict[str, Any]:
    """Probe every server; return the figures, {passed: [name], flaws: {name: flaw}} of the bad servers and
    {good_servers, good_refused, refused: {name: flaw}} of the good ones.
    """
    return asyncio.run(_prove(max(MIN_LIMIT_S, min(size.recording_s, 20.0)), size.seed))


async def _prove(limit_s: float, seed: int) -> dict[str, Any]:
    bad = (*MISBEHAVIOURS, *SOME_REPLICAS)
    good = (USUAL, *WELL_BEHAVED)
    limits = {**dict.fromkeys(bad, limit_s), **dict.fromkeys(good, GOOD_LIMIT_S)}
    found = await asyncio.gather(*(probe_server(name, limit, seed) for name, limit in limits.items()))
    told = dict(zip((*bad, *good), found, strict=True))
    passed = [name for name in bad if told[name] is None]
    refused = {name or "usual": str(told[name]) for name in good if told[name] is not None}
    sys.stderr.write(
        f"servers: {len(bad)} misbehaving, {len(passed)} passed; {len(good)} correct, {len(refused)} refused\n"
    )
    return {
        "bad_servers": len(bad),
        "false_ready": len(passed),
        "good_servers": len(good),
        "good_refused": len(refused),
        "passed": passed,
        "refused": refused,
        "flaws": {name: told[name] for name in bad},
    }


async def probe_server(name: str, limit_s: float, seed: int) -> str | None:
    """Probe one server until the limit; return None if it counted as ready, else its last flaw."""
    clock = SimClock.start(SPEED)
    store = ObjectStore(clock, seed=seed)
    faults = Faults(completion=name)
    server = KubeServer(store, name=f"proof-{name}", clock=clock, proxy=_OnePod(clock, faults, seed), faults=faults)
    url = await server.start()
    try:
        _serve(store)
        async with Cluster.from_access(lambda: ClusterAccess(url), name=name) as cluster:
            scope = Scope({"namespace": NAMESPACE, "name": RAYSERVICE, "uid": "proof"})
            probe = CompletionProbe(cluster, NAMESPACE, scope, _completion(SOME_REPLICAS.get(name, 1)))
            try:
                async with asyncio.timeout(limit_s):
                    await probe.first_valid(lambda _line: None)
            except TimeoutError:
                return probe.flaw
            return None
    finally:
        await server.stop()


class _OnePod:
    """The processes of the only pod: a completion server on port 8000."""

    def __init__(self, clock: SimClock, faults: Faults, seed: int) -> None:
        self._server = OpenAiServer(MODEL, clock, Costs(load_profile("eks", "luna"), Random(seed)))
        self._faults = faults

    async def request(self, asked: PodRequest) -> Answer:
        """Answer like the server that the fault names."""
        return await self._server.request(asked.method, asked.path, asked.body, self._faults.completion or None)

    def logs(self, pod: dict[str, Any], container: str) -> list[Any]:
        """Return no logs; they are not read here."""
        return []


def _completion(replicas: int) -> dict[str, Any]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Say one word."}], "max_tokens": 8}
    return {"path": "/v1/chat/completions", "body": body, "expect_model": MODEL, "replicas": replicas}


def _serve(store: ObjectStore) -> None:
    """Create the Service, its pod and their EndpointSlice in the cluster."""
    service, pod = f"{RAYSERVICE}-serve-svc", f"{RAYSERVICE}-head"
    port = {"name": "serve", "port": 8000, "protocol": "TCP"}
    container = {"name": "ray-head", "image": "proof", "ports": [{"containerPort": 8000, "name": "serve"}]}
    objects: dict[str, dict[str, Any]] = {
        "services": {"metadata": {"name": service}, "spec": {"ports": [{**port, "targetPort": 8000}]}},
        "pods": {"metadata": {"name": pod}, "spec": {"containers": [container]}, "status": {"podIP": "10.0.0.1"}},
        "endpointslices": {
            "metadata": {"name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [port],
            "endpoints": [
                {
                    "addresses": ["10.0.0.1"],
                    "conditions": {"ready": True},
                    "targetRef": {"kind": "Pod", "name": pod, "namespace": NAMESPACE},
                }
            ],
        },
    }
    for plural, item in objects.items():
        store.create(plural, item, namespace=NAMESPACE, manager="proof")
