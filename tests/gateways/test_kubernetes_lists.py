"""Lists that are none, or incomplete: never an empty list, because what is not seen would be called gone."""

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from kube_fake_api import FakeApi, Fault, fake_api

from airflow_llm_provisioning.core.instants import retry_after_s
from airflow_llm_provisioning.exceptions import ClusterError, ForbiddenError
from airflow_llm_provisioning.gateways.kubernetes import Cluster

PATH = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as found:
        yield found


@pytest.fixture
async def cluster(api: FakeApi) -> AsyncIterator[Cluster]:
    async with Cluster.from_access(api.access(), name="demo") as opened:
        yield opened


def answers(text: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"kind": "Status", "status": "Success"},
        {"items": []},
        {"metadata": {}},
        {"items": {"a": 1}, "metadata": {}},
        {"items": ["a", None], "metadata": {}},
        {"items": [{}], "metadata": {}},
        {"items": [{"metadata": {"name": "a"}}, {"metadata": None}], "metadata": {}},
        {"items": [], "metadata": None},
    ],
    ids=json.dumps,
)
async def test_what_is_no_list_is_told(api: FakeApi, cluster: Cluster, answer: object) -> None:
    """A proxy's answer, or a cut one: not an empty namespace."""
    api.handlers[PATH] = answers(json.dumps(answer))
    with pytest.raises(ClusterError, match=r"list pods.*the answer is no list of objects\. Is demo an API server\?"):
        await cluster.list("pods", "default")


async def test_an_empty_list_of_go_is_empty(api: FakeApi, cluster: Cluster) -> None:
    """A nil slice is null in JSON."""
    api.handlers[PATH] = answers('{"items": null, "metadata": {"resourceVersion": "7"}}')
    assert await cluster.list("pods", "default") == ([], "7")


async def test_a_page_that_never_ends_is_told(api: FakeApi, cluster: Cluster) -> None:
    """A server or a cache that ignores the token would be asked without an end."""
    api.handlers[PATH] = answers('{"items": [], "metadata": {"continue": "x"}}')
    with pytest.raises(ClusterError, match="the same page again and again"):
        await cluster.list("pods", "default")


async def test_a_later_page_that_is_refused_is_no_short_list(api: FakeApi, cluster: Cluster) -> None:
    """The first 500 objects are not all."""
    for number in range(1, 504):
        api.objects["pods", "default", f"p{number}"] = {"metadata": {"name": f"p{number}", "uid": str(number)}}
    api.faults.append(Fault("continue=", status=403, message="pods is forbidden"))
    with pytest.raises(ForbiddenError):
        await cluster.list("pods", "default")


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("1", 1.0),
        ("0", 0.0),
        ("1.5", 1.5),
        *((text, None) for text in (None, "", "soon", "nan", "inf", "-5", "Wed, 21 Oct 2099 07:28:00 GMT")),
    ],
)
def test_a_pause_that_is_none_is_not_waited_for(header: str | None, wait_s: float | None) -> None:
    """A wait of NaN seconds never ends."""
    found = retry_after_s(header)
    assert found == wait_s
    assert found is None or math.isfinite(found)
