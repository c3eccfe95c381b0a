"""Settings of Bottlerocket that a treatment adds: valid TOML wherever EKS's nodes are described."""

import base64
import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_profiles import profile

from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.clouds.eks.user_data import user_data

SOCI = {"container-runtime": {"snapshotter": "soci"}, "soci": {"pull": {"max-concurrent-downloads-per-image": 10}}}
SCALARS = (
    st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def with_settings(autoscaler: str, settings: Any = SOCI, cloud: str = "eks", **options: Any) -> Any:
    return profile(cloud, autoscaler, options={"user_data_settings": settings, **options})


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=4))
def test_whatever_is_a_setting_is_written_as_toml_that_says_the_same(settings: dict[str, Any]) -> None:
    """Any key and any text, quotes, backslashes and control characters included."""
    assert tomllib.loads(user_data({}, settings)) == {"settings": settings}


def test_karpenter_puts_it_into_the_node_class() -> None:
    """Karpenter adds what finds the cluster; without settings there is no user data at all."""
    (node_class, *_) = AUTOSCALERS["karpenter"].setup(with_settings("karpenter")).manifests
    assert tomllib.loads(node_class["spec"]["userData"]) == {"settings": SOCI}
    assert '[settings.container-runtime]\nsnapshotter = "soci"' in node_class["spec"]["userData"]
    (plain, *_) = AUTOSCALERS["karpenter"].setup(profile("eks", "karpenter")).manifests
    assert "userData" not in plain["spec"]


def test_the_users_own_user_data_is_kept_and_merged() -> None:
    """TOML of the profile's option `user_data`, and the added settings beside it."""
    own = '[settings.kernel]\nlockdown = "integrity"\n'
    given_ = with_settings("karpenter", user_data=own)
    assert list(AUTOSCALERS["karpenter"].check(given_)) == []
    (node_class, *_) = AUTOSCALERS["karpenter"].setup(given_).manifests
    assert tomllib.loads(node_class["spec"]["userData"])["settings"] == {"kernel": {"lockdown": "integrity"}, **SOCI}


def test_luna_merges_it_with_what_finds_the_cluster() -> None:
    """Also into the same table."""
    given_ = with_settings("luna", {**SOCI, "kubernetes": {"max-pods": 110}})
    assert list(AUTOSCALERS["luna"].check(given_)) == []
    setup = AUTOSCALERS["luna"].setup(given_)
    settings = tomllib.loads(setup.manifests[0]["data"]["aws.userData"])["settings"]
    found = {"api-server": "https://x.eks.amazonaws.com", "cluster-certificate": "Q0E=", "max-pods": 110}
    assert settings == {**SOCI, "kubernetes": found}
    assert setup.files["user-data.toml"] == setup.manifests[0]["data"]["aws.userData"]


def test_a_managed_node_group_gets_it_in_its_launch_template() -> None:
    """As EC2 takes it, base64; without settings the template has no user data, as before."""
    data = json.loads(AUTOSCALERS["native"].setup(with_settings("native")).files["launch-template-data.json"])
    settings = tomllib.loads(base64.b64decode(data["UserData"]).decode())["settings"]
    assert settings["container-runtime"] == {"snapshotter": "soci"}
    plain = json.loads(AUTOSCALERS["native"].setup(profile("eks", "native")).files["launch-template-data.json"])
    assert set(plain) == {"BlockDeviceMappings"}


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ("soci", {}, "give a mapping"),
        ({"settings": SOCI}, {}, "leave that level out"),
        ({"a": {"b": None}}, {}, "cannot hold settings.a.b = None"),
        (SOCI, {"ami_alias": "al2023@latest"}, "ami_alias is 'al2023@latest'"),
        (SOCI, {"user_data": "#!/bin/sh\necho hello"}, "The option user_data is no TOML"),
        (
            SOCI,
            {"user_data": '[settings.container-runtime]\nsnapshotter = "overlayfs"'},
            "would set settings.container-runtime.snapshotter to 'overlayfs' and to 'soci': keep one",
        ),
    ],
)
def test_settings_that_cannot_be_written_are_refused(settings: Any, options: dict[str, Any], said: str) -> None:
    """When the experiment is checked, in one sentence that names the setting."""
    (problem,) = AUTOSCALERS["karpenter"].check(with_settings("karpenter", settings, **options))
    assert said in problem


def test_the_cluster_cannot_be_named_twice() -> None:
    """A treatment cannot lead a node to another cluster."""
    with pytest.raises(ConfigurationError, match=r"would set settings\.kubernetes\.api-server to"):
        AUTOSCALERS["luna"].setup(with_settings("luna", {"kubernetes": {"api-server": "https://elsewhere"}}))


@pytest.mark.parametrize(
    ("cloud", "autoscaler"),
    [("gke", "luna"), ("gke", "native"), ("aks", "karpenter"), ("aks", "luna"), ("aks", "native")],
)
def test_nodes_of_other_clouds_do_not_run_bottlerocket(cloud: str, autoscaler: str) -> None:
    """Said before anything is made, and not silently left out."""
    problems = AUTOSCALERS[autoscaler].check(with_settings(autoscaler, cloud=cloud))
    assert [item for item in problems if f"nodes on {cloud!r} do not run" in item]
