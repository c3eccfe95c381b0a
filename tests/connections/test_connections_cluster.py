"""Opening a cluster from an Airflow connection."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from airflow_llm_provisioning.connections import open_cluster
from airflow_llm_provisioning.connections.cluster import _kubernetes_credentials
from airflow_llm_provisioning.exceptions import ConnectionConfigError


@pytest.fixture
async def server() -> AsyncIterator[dict[str, Any]]:
    """Serve /version and remember who asked."""
    seen: dict[str, Any] = {}

    async def version(request: web.Request) -> web.Response:
        seen["authorization"] = request.headers.get("Authorization")
        return web.json_response({"gitVersion": "v1.34.0"})

    app = web.Application()
    app.router.add_get("/version", version)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    seen["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield seen
    await runner.cleanup()


def kube_config(url: str, **user: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user or {"token": "secret"}}],
    }


def connection(monkeypatch: pytest.MonkeyPatch, name: str, **fields: Any) -> dict[str, str]:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))
    return {"conn_id": name}


async def test_a_kubeconfig_in_the_connection_opens_its_cluster(
    server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubeconfig's text, as JSON in the extra, gives address and token."""
    extra = {"kube_config": json.dumps(kube_config(server["url"]))}
    async with open_cluster(connection(monkeypatch, "k1", conn_type="kubernetes", extra=extra)) as cluster:
        assert cluster.version()["gitVersion"] == "v1.34.0"
        assert cluster.name == "k1"
    assert server["authorization"] == "Bearer secret"


async def test_a_kubeconfig_file_opens_its_cluster(
    server: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A path in the connection is read when the cluster is opened, with its exec plugin."""
    plugin = tmp_path / "token.py"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "minted"},
    }
    plugin.write_text(f"print({json.dumps(json.dumps(credential))})")
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(plugin)],
            "interactiveMode": "Never",
        }
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(kube_config(server["url"], **user)))
    reference = connection(monkeypatch, "k2", conn_type="kubernetes", extra={"kube_config_path": str(path)})
    async with open_cluster({**reference, "cluster_name": "prod"}) as cluster:
        assert cluster.name == "prod"
    assert server["authorization"] == "Bearer minted"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"conn_type": "kubernetes", "extra": {"kube_config_path": "/no/such/file"}}, "kube_config_path"),
        ({"conn_type": "kubernetes", "extra": [1]}, "its extra fields are no mapping"),
        (
            {"conn_type": "kubernetes", "extra": {"kube_config": {"current-context": "a\0b\nc", "contexts": []}}},
            "Expected object with name a b c in kube-config/contexts list",
        ),
        ({"conn_type": "http", "host": "x"}, r"has the type 'http': a cluster is reached by kubernetes, aws"),
        ({"conn_type": "aws"}, "say which cluster of it, by `cluster_name`"),
    ],
)
async def test_a_connection_that_cannot_work_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], words: str
) -> None:
    """What is wrong with the connection is said, with what to do."""
    reference = connection(monkeypatch, "k3", **fields)
    if fields["conn_type"] == "http":
        reference["cluster_name"] = "x"
    with pytest.raises(ConnectionConfigError, match=words) as raised:
        async with open_cluster(reference):
            pass
    assert str(raised.value).isprintable()


async def test_an_absent_connection_is_named() -> None:
    """No such connection: its id and what to do."""
    with pytest.raises(ConnectionConfigError, match="'nowhere' is not defined"):
        async with open_cluster({"conn_id": "nowhere"}):
            pass


@pytest.mark.parametrize(
    "told", ['{"conn_type": "kubernetes", "password": "made-up"', "kubernetes://me:made-up@h:port/"]
)
async def test_a_variable_that_airflow_cannot_read_is_told_as_such(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    """The connection is defined, so it is not missing; its value is not shown."""
    monkeypatch.setenv("AIRFLOW_CONN_K14", told)
    with pytest.raises(ConnectionConfigError, match="AIRFLOW_CONN_K14 is set, and Airflow cannot read it") as raised:
        async with open_cluster({"conn_id": "k14"}):
            pass
    assert "made-up" not in str(raised.value)


def test_a_reference_without_connection_is_refused() -> None:
    """Nothing to open."""
    with pytest.raises(ConnectionConfigError, match="without `conn_id`"):
        open_cluster({"cluster_name": "x"})


@pytest.mark.parametrize(
    "empty",
    [
        {"kube_config_path": ""},
        {"cluster_context": ""},
        {
            "kube_config_path": "",
            "cluster_context": "",
            "in_cluster": False,
            "namespace": "",
            "disable_verify_ssl": False,
        },
        {"extra__kubernetes__kube_config_path": "", "kube_config_path": None},
    ],
)
async def test_an_empty_field_counts_as_not_given(
    server: dict[str, Any], monkeypatch: pytest.MonkeyPatch, empty: dict[str, Any]
) -> None:
    """Airflow's form stores an empty text for a field that was left empty (apache/airflow 20626)."""
    extra = {"kube_config": json.dumps(kube_config(server["url"])), **empty}
    async with open_cluster(connection(monkeypatch, "k9", conn_type="kubernetes", extra=extra)) as cluster:
        assert cluster.version()["gitVersion"] == "v1.34.0"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: {"kube_config": json.loads(text)},
        lambda text: {"extra__kubernetes__kube_config": text},
        lambda text: {"kube_config": text.replace('"current-context": "c"', '"current-context": "gone"'),
                      "cluster_context": "c"},
        lambda text: {"kube_config": text, "extra__kubernetes__kube_config": "not this one"},
        lambda text: {"kube_config": json.dumps(text)},
        lambda text: {"kube_config": text, "in_cluster": "False"},
    ],
    ids=["as a mapping", "with the prefix of older forms", "by its context", "the newer name first", "as text of text",
         "with a truth value of a URI"],
)  # fmt: skip
async def test_the_fields_are_those_of_the_official_hook(
    server: dict[str, Any], monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    """The connection's form and its fields are the official provider's."""
    extra = change(json.dumps(kube_config(server["url"])))
    async with open_cluster(connection(monkeypatch, "k10", conn_type="kubernetes", extra=extra)) as cluster:
        assert cluster.version()["gitVersion"] == "v1.34.0"
    assert server["authorization"] == "Bearer secret"


@pytest.mark.parametrize(("told", "verified"), [("False", True), ("false", True), (False, True), ("true", False)])
async def test_certificates_are_verified_unless_it_says_otherwise(told: Any, verified: bool) -> None:
    """A URI's `disable_verify_ssl=False` is text, which is no yes."""
    extra = {"kube_config": kube_config("https://127.0.0.1:1"), "disable_verify_ssl": told}
    credentials = await _kubernetes_credentials("k12", extra)
    assert credentials.configuration.verify_ssl is verified


async def test_a_path_may_begin_at_home(
    server: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As it is written on a command line."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config").write_text(json.dumps(kube_config(server["url"])))
    reference = connection(monkeypatch, "k13", conn_type="kubernetes", extra={"kube_config_path": "~/config"})
    async with open_cluster(reference) as cluster:
        assert cluster.version()["gitVersion"] == "v1.34.0"


async def test_two_ways_to_a_cluster_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them was meant is not guessed."""
    reference = connection(monkeypatch, "k11", conn_type="kubernetes", extra={"in_cluster": True, "kube_config": "{}"})
    with pytest.raises(ConnectionConfigError, match="exclude each other"):
        async with open_cluster(reference):
            pass
