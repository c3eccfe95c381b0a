"""The first chapter of docs/gke.md, word for word: this code accepts connection, experiment, commands and clean-up."""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from gke_world import BUILD, POOL, finish
from simulator_in_background import simulator_in_background

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.connections.cloud import opened_cloud
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.dag_factory import load_experiment, single_trial_params
from airflow_llm_provisioning.gateways.clouds.gke import streaming

pytestmark = pytest.mark.gke

ROOT = Path(__file__).resolve().parents[3]


def chapter() -> str:
    text = (ROOT / "docs" / "gke.md").read_text(encoding="utf-8")
    return text.partition("## Step by step\n")[2].partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", chapter(), re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Return the shell's commands as words, continued lines joined."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.partition("#")[0].split("&&")]
    return [words for words in (shlex.split(part) for part in parts) if words]


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """The chapter's experiment, loaded and checked as a DAG loads it."""
    (text,) = blocks("yaml")
    path = tmp_path / "gke.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path)


def connection_extra() -> dict[str, str]:
    (words,) = [words for words in commands() if words[:3] == ["airflow", "connections", "add"]]
    assert words[words.index("--conn-type") + 1] == "google_cloud_platform"
    extra: dict[str, str] = json.loads(words[words.index("--conn-extra") + 1])
    return extra


def test_its_experiment_has_a_plain_and_a_streaming_target_on_one_cluster(experiment: Experiment) -> None:
    """Loaded as the DAGs load it, with pools of their own that only the one streams from."""
    plain, fast = experiment.targets
    assert [target.cluster for target in (plain, fast)] == ["llm-gke", "llm-gke"]
    assert [target.nodes.features for target in (plain, fast)] == [{}, {"image_streaming": True}]
    names = [
        words[words.index("create") + 1] for words in commands() if words[1:4] == ["container", "clusters", "create"]
    ]
    assert names == [plain.cluster_name]


def test_its_trials_are_ones_the_form_takes(experiment: Experiment) -> None:
    """DAG ids exist, and every key and value of a trigger's configuration is allowed."""
    params = single_trial_params(experiment)
    triggers = [words for words in commands() if words[:3] == ["airflow", "dags", "trigger"]]
    assert {words[3] for words in triggers} <= {
        path.stem for path in (ROOT / "airflow_llm_provisioning" / "example_dags").glob("*.py")
    }
    given = [json.loads(words[words.index("--conf") + 1]) for words in triggers if "--conf" in words]
    assert len(given) == 2
    for conf in given:
        for key, value in conf.items():
            assert value in params[key].schema["enum"]
        (target,) = [target for target in experiment.targets if target.name == conf["target"]]
        assert conf["variant"] in target.variants


def test_its_command_lines_are_understood() -> None:
    """Commands and options are ones the parser knows."""
    ours = [words[1:] for words in commands() if words[0] == "llm-provisioning"]
    assert len(ours) == 4
    for words in ours:
        with contextlib.redirect_stderr(io.StringIO()):
            assert callable(cli._parser().parse_args(words).command)


def test_its_roles_are_enough_for_the_nodes(experiment: Experiment) -> None:
    """What the chapter grants the nodes' account passes the check that the preparation makes."""
    loops = re.findall(r"^for role in (.*?); do", "\n".join(blocks("bash")).replace("\\\n", " "), re.MULTILINE)
    granted = {f"roles/{role}" for role in loops[0].split()}
    assert granted & streaming._PULL_ROLES
    assert granted & streaming._STREAM_ROLES
    accounts = {target.nodes.options["node_service_account"] for target in experiment.targets}
    assert accounts == {"llm-nodes@my-project.iam.gserviceaccount.com"}


def test_its_clean_up_takes_down_all_of_this_cloud(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, results_db: Path, tmp_path: Path
) -> None:
    """Run as it stands, in the folder of the chapter's file: what the preparation made is seen to be gone, and pools
    and images of others stay.
    """
    (words,) = [words for words in commands() if words[:2] == ["llm-provisioning", "reap"]]
    with simulator_in_background(experiment, speed=400.0, seed=3) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        world, store = running.simulator.world, open_store()
        before = (set(world.clusters["llm-gke"].pools), set(world.images))
        with opened_cloud(
            {"cloud": "gke", "conn_id": "google_llm"}, results_conn_id="llm_provisioning_results"
        ) as cloud:
            finish(cloud, "build_image", BUILD)
            finish(cloud, "set_up_node_pool", {"cluster": "llm-gke", "pool": POOL, "target": "gke-streaming"})
        assert len(store.ledger.open_entries()) >= 2
        monkeypatch.chdir(tmp_path)
        assert cli.main(words[1:]) == 0
        assert (set(world.clusters["llm-gke"].pools), set(world.images)) == before
        assert store.ledger.open_entries() == []
        store.close()


def test_its_yaml_and_docs_agree_on_the_fields() -> None:
    """The experiment of the later chapter is one of GKE too."""
    text = (ROOT / "docs" / "gke.md").read_text(encoding="utf-8")
    _, found = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert {target["nodes"]["cloud"] for target in yaml.safe_load(found)["targets"]} == {"gke"}
