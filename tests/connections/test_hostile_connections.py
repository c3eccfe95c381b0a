"""Connections that are wrong, hostile or stored by a form: one sentence without a password, and TLS as asked for."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

from airflow_llm_provisioning.connections import open_cluster, store, store_url
from airflow_llm_provisioning.connections.typed import AirflowConnections
from airflow_llm_provisioning.exceptions import ConnectionConfigError
from airflow_llm_provisioning.gateways.clouds.descriptor import endpoints_of

CANARY = "made-up-6"


def defined(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps(fields))


def sql(monkeypatch: pytest.MonkeyPatch, driver: str, extra: dict[str, Any]) -> None:
    """Define a connection of a database whose provider is not installed here, as its hook gives it."""
    url = URL.create(driver, "u", CANARY, "db.example", database="d")
    hook = SimpleNamespace(sqlalchemy_url=url)
    found = SimpleNamespace(conn_type=driver, login="u", password=CANARY, extra_dejson=extra, get_hook=lambda: hook)
    monkeypatch.setattr(store, "find_connection", lambda _: found)


@pytest.mark.parametrize(
    "extra",
    [{"sslmode": "verify-full", "sslrootcert": "/ca.pem"}, {"sslmode": "nonsense"}, {"channel_binding": "require"}],
)
def test_postgres_gets_the_settings_of_its_extra(monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]) -> None:
    """By libpq's own names; a wrong value is libpq's to refuse, and is not dropped."""
    sql(monkeypatch, "postgresql", {**extra, "sslcert": "", "other": "x"})
    assert dict(make_url(store_url("c")).query) == extra


@pytest.mark.parametrize("form", [dict, json.dumps])
def test_mysql_gets_the_settings_of_its_extra(monkeypatch: pytest.MonkeyPatch, form: Any) -> None:
    """They are in a mapping of their own, or in its text."""
    sql(monkeypatch, "mysql", {"ssl": form({"ca": "/ca.pem", "check_hostname": True}), "ssl_mode": "VERIFY_CA"})
    assert dict(make_url(store_url("c")).query) == {
        "ssl_ca": "/ca.pem", "ssl_check_hostname": "true", "ssl_mode": "VERIFY_CA",
    }  # fmt: skip


@pytest.mark.parametrize(("driver", "extra"), [("mssql", {"Encrypt": "yes"}), ("postgresql", {"ssl": "true"}),
                                               ("sqlite", {"tls": True})])  # fmt: skip
def test_a_setting_that_would_be_ignored_is_refused(
    monkeypatch: pytest.MonkeyPatch, driver: str, extra: dict[str, Any]
) -> None:
    """A connection that is believed to be verified and is not is worse than none."""
    sql(monkeypatch, driver, extra)
    with pytest.raises(ConnectionConfigError, match=next(iter(extra))) as raised:
        store.with_settings(f"{driver}://", extra, "c")
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize("fields", [{"login": "me"}, {"password": CANARY}, {"login": "me", "password": CANARY}])
def test_a_sqlite_file_has_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fields: dict[str, str]) -> None:
    """It would become the name of a folder in the working directory."""
    monkeypatch.chdir(tmp_path)
    defined(monkeypatch, conn_type="sqlite", host=str(tmp_path / "x" / "results.db"), **fields)
    with pytest.raises(ConnectionConfigError, match="SQLite has none") as raised:
        store_url("c")
    assert CANARY not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_store_connection_with_empty_fields_is_the_file_that_it_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As Airflow's form stores it."""
    file = tmp_path / "results.db"
    defined(monkeypatch, conn_type="sqlite", host=str(file), login="", password="", schema="", extra={"sslmode": ""})
    assert make_url(store_url("c")).database == str(file)


def kube_config(server: str = "https://127.0.0.1:1") -> dict[str, Any]:
    return {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": CANARY}}],
    }


KUBE_CONFIGS: dict[str, Any] = {
    "a scalar": "made-up-6",
    "a number": 5,
    "a list": [CANARY],
    "a text in a text": json.dumps(json.dumps(CANARY)),
    "broken YAML": f"users: [{{token: {CANARY}",
    "tabs": f"users:\n\t- token: {CANARY}",
    "deep": "[" * 5000,
    "no contexts": {"users": [{"token": CANARY}]},
    "contexts that are a text": kube_config() | {"contexts": CANARY},
    "clusters that are numbers": kube_config() | {"clusters": [5]},
    "a user that is a text": kube_config() | {"users": [{"name": "u", "user": CANARY}]},
    "no server": kube_config() | {"clusters": [{"name": "k", "cluster": {}}]},
    "a password in the server": kube_config(f"https://me:{CANARY}@127.0.0.1:1"),
    "a user in the server": kube_config(f"https://{CANARY}@127.0.0.1:1"),
    "another scheme": kube_config(f"ftp://127.0.0.1/{CANARY}"),
    "no port": kube_config(f"https://127.0.0.1:{CANARY}"),
    "no host": kube_config("https://"),
    "bad certificates": kube_config()
    | {"clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": "!"}}]},
}


@pytest.mark.parametrize("what", KUBE_CONFIGS)
@pytest.mark.parametrize("as_text", [True, False])
async def test_a_broken_kubeconfig_is_one_sentence(monkeypatch: pytest.MonkeyPatch, what: str, as_text: bool) -> None:
    """That names the connection and shows nothing of the kubeconfig."""
    value = KUBE_CONFIGS[what]
    given = json.dumps(value) if as_text and not isinstance(value, str) else value
    defined(monkeypatch, conn_type="kubernetes", extra={"kube_config": given})
    with pytest.raises(ConnectionConfigError, match="'c' does not lead to a cluster") as raised:
        async with open_cluster({"conn_id": "c"}):
            pass
    assert CANARY not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("uri", "fields"),
    [
        ("azure://a:b@/?extra__azure__subscriptionId=s&tenantId=t", {"subscriptionId": "s", "tenantId": "t"}),
        ("azure://a:b@/?extra__azure__tenantId=old&tenantId=new", {"tenantId": "new"}),
        ("aws://a:b@/?extra__aws__region_name=r&x=%5B1%5D", {"region_name": "r", "x": [1]}),
        ("google-cloud-platform://?endpoints=%7B%22container%22%3A%22x%22%7D", {"endpoints": {"container": "x"}}),
    ],
)
def test_a_clouds_fields_are_the_same_from_a_uri(
    monkeypatch: pytest.MonkeyPatch, uri: str, fields: dict[str, Any]
) -> None:
    """There every value is text, mappings too; older connections have a prefix."""
    monkeypatch.setenv("AIRFLOW_CONN_C", uri)
    conn_type = uri.partition(":")[0].replace("-", "_")
    assert AirflowConnections().typed("c", conn_type, "docs").extra_dejson == fields


def test_endpoints_that_are_no_mapping_are_one_sentence() -> None:
    """The connection and the field are named."""
    assert endpoints_of({"endpoints": {"arm": "https://x"}}, "c", "docs") == {"arm": "https://x"}
    with pytest.raises(ConnectionConfigError, match="endpoints of Airflow connection 'c' is no mapping"):
        endpoints_of({"endpoints": "https://x"}, "c", "docs")


def test_a_store_may_have_the_type_of_sqlalchemys_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow has no type with a driver, and URLs of databases are copied as they are."""
    monkeypatch.setenv("AIRFLOW_CONN_C", f"postgresql+psycopg2://u:{CANARY}@db.example:5432/d?sslmode=require")
    url = make_url(store_url("c"))
    assert (url.get_backend_name(), url.host, dict(url.query)) == ("postgresql", "db.example", {"sslmode": "require"})


@pytest.mark.parametrize("conn_type", ["aws", "google_cloud_platform", "azure"])
def test_a_clouds_empty_fields_are_not_given(monkeypatch: pytest.MonkeyPatch, conn_type: str) -> None:
    """An empty endpoint or tenant would be taken for one."""
    extra = {"region_name": "", "endpoint_url": None, "tenantId": "", "project": "p", "use": False}
    defined(monkeypatch, conn_type=conn_type, extra=extra)
    found = AirflowConnections().typed("c", conn_type, "docs")
    assert found.extra_dejson == {"project": "p", "use": False}
