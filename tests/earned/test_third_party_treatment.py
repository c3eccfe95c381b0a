"""A treatment that changes nodes, in another distribution: installed, it runs without any change to the provider."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from earned_lab import EXACT, laboratory, pulls_s, verdict

from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.core.treatments import forget_installed, known_treatments
from airflow_llm_provisioning.exceptions import ConfigurationError

PACKAGE = Path(__file__).resolve().parents[1] / "plugins" / "soci"
pytestmark = pytest.mark.eks


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Build the package and install it into an environment of this test's own."""
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
    command += ["--python", sys.executable, "--target", str(tmp_path / "site"), str(PACKAGE)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own package
    assert ran.returncode == 0, ran.stderr
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    forget_installed()
    yield tmp_path / "site"
    monkeypatch.undo()
    forget_installed()


def experiment(autoscaler: str = "karpenter") -> dict[str, Any]:
    """Return an experiment file's data: a plain and a treated target on one cluster."""
    target = {
        "cluster": "eks-karpenter",
        "conn_id": "simulated_eks_karpenter",
        "cloud_conn_id": "simulated_aws",
        "cluster_name": "eks-karpenter",
        "region": "us-west-2",
        "nodes": {
            "cloud": "eks",
            "autoscaler": autoscaler,
            "kubernetes_minor": "1.34",
            "gpu_skus": ["L4"],
            "options": {"role": "nodes", "discovery": "eks-karpenter"},
        },
    }
    return {
        "name": "soci",
        "variants": {"baseline": [], "soci": ["layers_in_parallel"]},
        "targets": [
            target | {"name": "plain", "variants": ["baseline"]},
            target | {"name": "treated", "variants": ["soci"]},
        ],
        "setups": ["static"],
        "replicates": 1,
    }


def test_without_its_package_the_treatment_is_unknown() -> None:
    """The refusal names file, key and what there is."""
    with pytest.raises(ConfigurationError, match=r"soci\.yaml: variants\.soci: .*'layers_in_parallel' is unknown"):
        read_experiment(experiment(), where="soci.yaml", read_text=str)


@pytest.mark.usefixtures("installed")
def test_it_refuses_nodes_that_it_cannot_change() -> None:
    """Its own sentence, when the experiment is read."""
    assert "layers_in_parallel" in known_treatments()
    with pytest.raises(ConfigurationError, match="sets Karpenter's node class, and these nodes are luna's"):
        read_experiment(experiment("luna"), where="soci.yaml", read_text=str)


@pytest.mark.usefixtures("installed", "results_db")
def test_it_shortens_the_pull_of_a_simulated_trial_and_proves_it() -> None:
    """Its user data reaches Karpenter's node class, the simulated kubelet pulls at the parallel rate, its own verdict
    believes it; the plain target's nodes are as before. Both trials are of one stratum.
    """
    drawn = read_experiment(experiment(), where="soci.yaml", read_text=str)
    plain, treated = drawn.targets
    assert (plain.nodes.has("layers_in_parallel"), treated.nodes.has("layers_in_parallel")) == (False, True)
    with laboratory("eks", plain, treated) as lab:
        rows = {}
        for target, variant in ((plain, "baseline"), (treated, "soci")):
            lab.prepare(target, variants=drawn.variants)
            rows[variant] = lab.trial(target, variant, speed=EXACT, variants=drawn.variants)
    assert {row.status for row in rows.values()} == {TrialStatus.SUCCEEDED}
    assert (rows["baseline"].applied, rows["soci"].applied) == ("none", "applied")
    value, why = verdict(rows["soci"], "layers_in_parallel")
    assert value == "yes"
    assert "MB/s" in why
    assert max(pulls_s(rows["soci"])) < 0.6 * max(pulls_s(rows["baseline"]))
    assert rows["soci"].arm.stratum == rows["baseline"].arm.stratum
    assert rows["soci"].exclusion is None
