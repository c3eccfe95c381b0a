"""EndpointSlices: from no address over a ready one to a terminating one."""

from typing import Any

from infra_builders import Build, a_pod

Object = dict[str, Any]


def a_service(name: str, *, headless: bool) -> Object:
    spec: Object = {"selector": {"app": "ray"}, "ports": [{"name": "serve", "port": 8000, "targetPort": 8000}]}
    if headless:
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return {"metadata": {"name": name, "labels": {"svc": name}}, "spec": spec}


async def test_a_slice_follows_its_pods(small_cluster: Build) -> None:
    """Published at once where not-ready addresses are; ready elsewhere only with the pod; terminating at the end."""
    cluster = await small_cluster()
    for name, headless in (("head-svc", True), ("serve-svc", False)):
        cluster.store.create("services", a_service(name, headless=headless), namespace="default", manager="test")
    pod = a_pod("eks", "head", gpu=False)
    pod["metadata"]["labels"]["app"] = "ray"
    cluster.apply(pod)
    await cluster.until(lambda: cluster.is_ready("head"))
    cluster.store.delete("pods", "head", "default")
    await cluster.until(lambda: cluster.store.peek("pods", "head", "default") is None)

    def seen(service: str) -> list[Object | None]:
        states: list[Object | None] = []
        for _, _, resource, item in cluster.history:
            if resource == "endpointslices" and item["metadata"]["labels"]["kubernetes.io/service-name"] == service:
                states.append(item["endpoints"][0]["conditions"] if item["endpoints"] else None)
        return states

    assert seen("head-svc") == [
        None,
        {"ready": True, "serving": False, "terminating": False},
        {"ready": True, "serving": True, "terminating": False},
        {"ready": True, "serving": True, "terminating": True},
        None,
    ]
    assert seen("serve-svc")[1:4] == [
        {"ready": False, "serving": False, "terminating": False},
        {"ready": True, "serving": True, "terminating": False},
        {"ready": False, "serving": True, "terminating": True},
    ]


async def test_a_slice_goes_with_its_service(small_cluster: Build) -> None:
    """Owned by the Service; a Service without selector has none."""
    cluster = await small_cluster()
    cluster.store.create("services", a_service("one", headless=False), namespace="default", manager="test")
    cluster.store.create("services", {"metadata": {"name": "two"}, "spec": {}}, namespace="default", manager="test")
    await cluster.until(lambda: len(cluster.store.list("endpointslices", "default")) == 1)
    slice_ = cluster.store.list("endpointslices", "default")[0]
    assert slice_["metadata"]["labels"]["svc"] == "one"
    assert slice_["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"]
    cluster.store.delete("services", "one", "default")
    assert cluster.store.list("endpointslices", "default") == []
