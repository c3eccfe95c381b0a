"""Clouds by name: this package's, and those of other packages, which may be wrong in every way."""

import subprocess
import sys
from pathlib import Path

import pytest

from airflow_llm_provisioning.exceptions import ConfigurationError, MissingExtraError
from airflow_llm_provisioning.gateways.clouds.descriptor import CloudDescriptor
from airflow_llm_provisioning.gateways.clouds.nodes import ExistingNodes
from airflow_llm_provisioning.gateways.clouds.registry import (
    cloud_named,
    cloud_of_connection_type,
    each_cloud,
    known_clouds,
)

OWN = ("eks", "gke", "aks", "generic")


def install(folder: Path, package: str, line: str) -> None:
    """Put a package's metadata with one entry point into a folder of the path."""
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[llm_provisioning.clouds]\n{line}\n")


@pytest.mark.parametrize("name", OWN)
def test_each_is_registered_by_its_own_name(name: str) -> None:
    """And with a title for sentences."""
    assert cloud_named(name).name == name
    assert cloud_named(name).title


def test_a_connection_type_leads_to_the_cloud_that_says_so() -> None:
    """Each type to one cloud; a type that no cloud names to none."""
    types = [kind for cloud in each_cloud() for kind in cloud.connection_types]
    assert types == ["aws", "google_cloud_platform", "azure"]
    found = [cloud_of_connection_type(kind) for kind in types]
    assert [cloud.name if cloud else None for cloud in found] == ["eks", "gke", "aks"]
    assert cloud_of_connection_type("ftp") is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("toy = no_such_module:CLOUD", r"Cloud 'toy' \(toys: no_such_module:CLOUD\) cannot be loaded"),
        ("toy = json:CLOUD", r"Cloud 'toy' \(toys: json:CLOUD\) cannot be loaded"),
        ("toy = this_one_ends:CLOUD", r"Cloud 'toy' \(toys: this_one_ends:CLOUD\) cannot be loaded: SystemExit: no"),
        ("toy = json:dumps", "The entry point 'toy' of llm_provisioning.clouds leads to .*not to a CloudDescriptor"),
        (
            "toy = airflow_llm_provisioning.gateways.clouds.eks:CLOUD",
            "The entry point 'toy' of llm_provisioning.clouds leads to .*of that name",
        ),
    ],
)
def test_a_broken_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str) -> None:
    """One sentence that leads to it, and the clouds of this package still work."""
    install(tmp_path, "toys", line)
    (tmp_path / "this_one_ends.py").write_text("import sys\n\nsys.exit('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=said):
        cloud_named("toy")
    assert known_clouds() == (*OWN, "toy")
    assert cloud_named("eks").name == "eks"


def test_two_packages_cannot_bring_one_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the two would be used must not depend on the order of the path."""
    install(tmp_path, "toys", "toy = a:CLOUD")
    install(tmp_path, "games", "toy = b:CLOUD")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"more than one package \(games: b:CLOUD, toys: a:CLOUD\)"):
        cloud_named("toy")


def test_another_package_cannot_replace_a_cloud_of_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eks` is always the same."""
    install(tmp_path, "toys", "eks = json:dumps")
    monkeypatch.syspath_prepend(tmp_path)
    assert cloud_named("eks").title == "EKS"
    assert known_clouds() == OWN


def test_a_cloud_whose_packages_are_missing_says_what_to_install() -> None:
    """The requirement that it names, or the package that has its opener."""
    toy = CloudDescriptor(name="toy", title="Toy", opener="toybox.cloud:open_toy", nodes=ExistingNodes())
    for requirement, said in ((None, "toybox"), ("toybox\\[fast\\]", "toybox\\[fast\\]")):
        cloud = CloudDescriptor(
            name=toy.name,
            title=toy.title,
            opener=toy.opener,
            nodes=toy.nodes,
            requirement=requirement and requirement.replace("\\", ""),
        )
        with pytest.raises(MissingExtraError, match=f"Toy needs packages .*pip install '{said}'"):
            cloud.open({}, connections=None, ledger=None, clock=None)  # type: ignore[arg-type]


def test_descriptors_and_nodes_load_no_sdk_and_no_airflow() -> None:
    """They are read whenever Airflow parses the experiment's DAGs."""
    script = (
        "import sys\n"
        "from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS\n"
        "from airflow_llm_provisioning.gateways.clouds.registry import each_cloud\n"
        "list(each_cloud())\n"
        "heavy = {'airflow', 'boto3', 'botocore', 'google.api_core', 'azure.core', 'sqlalchemy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "[]\n"
