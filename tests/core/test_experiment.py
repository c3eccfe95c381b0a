"""The plan is a permutation of the cells; what cannot work is one sentence when it is read."""

import copy
import json
from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.experiment import Experiment, PlannedCell, Target
from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ConfigurationError


def target_data(name: str = "eks-plain", **fields: Any) -> dict[str, Any]:
    nodes = {"cloud": "eks", "autoscaler": "luna", "kubernetes_minor": "1.34", **fields.pop("nodes", {})}
    return {
        "name": name,
        "cluster": name,
        "conn_id": "k8s",
        "variants": ["baseline", "fast_download"],
        "nodes": nodes,
    } | fields


def read(data: object) -> Experiment:
    def no_file(path: str) -> str:
        raise AssertionError(f"{path} was read")

    return read_experiment(data, where="it.yaml", read_text=no_file)


def experiment(*targets: dict[str, Any], **fields: Any) -> Experiment:
    return read({"name": "nightly", "targets": list(targets) or [target_data()], **fields})


def plan(drawn: Experiment, seed: int) -> list[Trial]:
    return drawn.plan(seed, dag_id="d", run_id="r")


def cell(trial: Trial) -> PlannedCell:
    stratum = trial.stratum
    return PlannedCell(trial.target, stratum.workload, ScalingSetup(stratum.setup), trial.arm.variant)


@cache
def several(replicates: int) -> Experiment:
    one, two = target_data("a", cluster="shared"), target_data("b", cluster="shared", variants=["improved"])
    return experiment(one, two, target_data("c", nodes={"cloud": "gke"}), replicates=replicates)


@given(seed=st.integers(0, 2**63), replicates=st.integers(1, 5))
def test_a_plan_holds_every_cell_once_per_replicate(seed: int, replicates: int) -> None:
    """Nothing is left out, nothing runs twice."""
    drawn = several(replicates)
    planned = plan(drawn, seed)
    assert Counter((cell(trial), trial.slot.replicate) for trial in planned) == Counter(
        (each, replicate) for each in drawn.cells() for replicate in range(replicates)
    )


@given(seed=st.integers(0, 2**63))
def test_slots_count_up_per_cluster_as_the_dag_was_unrolled(seed: int) -> None:
    """Every slot that the DAG has gets exactly one trial, numbered from 0."""
    drawn = several(3)
    taken: dict[str, list[int]] = {}
    for trial in plan(drawn, seed):
        taken.setdefault(trial.slot.cluster, []).append(trial.slot.number)
    assert taken == {cluster: list(range(count)) for cluster, count in drawn.slots().items()}


@given(seed=st.integers(0, 2**63))
def test_replicates_interleave(seed: int) -> None:
    """Drift hits every cell alike: on a cluster no replicate begins before the one before it has ended."""
    for cluster in ("shared", "c"):
        replicates = [item.slot.replicate for item in plan(several(3), seed) if item.slot.cluster == cluster]
        assert replicates == sorted(replicates)


def test_the_same_seed_draws_the_same_plan_and_others_differ() -> None:
    """A plan can be drawn again from what is stored; twenty seeds give more than one order."""
    drawn = several(2)
    assert plan(drawn, 5) == plan(drawn, 5)
    assert len({tuple(cell(trial) for trial in plan(drawn, seed)) for seed in range(20)}) > 1


def test_a_planned_trial_is_plain_json() -> None:
    """XCom gets plain text, not an enum; the seed is in every trial."""
    trial = plan(experiment(), 7)[0]
    data = trial.as_dict()
    assert json.loads(json.dumps(data)) == data
    assert type(data["arm"]["stratum"]["setup"]) is str
    assert data["slot"]["seed"] == 7
    assert Trial.from_dict(data) == trial


def test_narrowing_leaves_one_cell_once() -> None:
    """A trial by hand is one trial of the chosen target."""
    one = several(3).narrowed(target="b", setup="dynamic", variant="improved", workload="phi3-2025")
    (trial,) = plan(one, 1)
    assert (cell(trial).key, trial.slot.cluster) == ("b/phi3-2025/dynamic/improved", "shared")


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"target": "nowhere"}, "Target 'nowhere' is unknown: known are a, b, c"),
        ({"variant": "improved"}, "'a' was prepared for baseline, fast_download, not for variant 'improved'"),
        ({"setup": "elastic"}, "'elastic' is unknown: choose static or dynamic"),
    ],
)
def test_a_cell_that_does_not_exist_is_refused(choice: dict[str, str], words: str) -> None:
    """What the form lets through is still checked, and what there is is named."""
    chosen = {"target": "a", "setup": "static", "variant": "baseline", "workload": "phi3-2025", **choice}
    with pytest.raises(ConfigurationError, match=words):
        several(1).narrowed(**chosen)


def test_clouds_are_chosen_by_name() -> None:
    """CLOUDS=gke leaves the targets of GKE; a cloud without targets, or none at all, is an error."""
    assert [target.name for target in several(1).on_clouds([" gke ", ""]).targets] == ["c"]
    with pytest.raises(ConfigurationError, match="no targets on aks: choose of eks, gke"):
        several(1).on_clouds(["eks", "aks"])
    with pytest.raises(ConfigurationError, match="no targets on no cloud"):
        several(1).on_clouds([""])


BAD_TARGETS = [
    (
        {"nodes": {"autoscaler": "magic"}},
        "`targets.eks-plain.nodes.autoscaler` is 'magic', which is unknown: known are karpenter, luna, native",
    ),
    (
        {"nodes": {"kubernetes_minor": 1.3}},
        "`targets.eks-plain.nodes.kubernetes_minor` must be text, in quotes; found 1.3",
    ),
    ({"nodes": {"gpu_skus": "L4"}}, "`targets.eks-plain.nodes.gpu_skus` must be a list; found 'L4'"),
    (
        {"nodes": {"gpus": 1}},
        r"`targets.eks-plain.nodes.gpus` is no key of an experiment file: did you mean 'gpu_skus'\?",
    ),
    ({"variants": "baseline"}, "`targets.eks-plain.variants` must be a list; found 'baseline'"),
    ({"colour": "red"}, "`targets.eks-plain.colour` is no key of an experiment file"),
    ({"conn_id": None}, "`targets.eks-plain.conn_id` must be text; found nothing"),
    ({"name": 5, "cluster": "c"}, "`targets.0.name` must be text, in quotes; found 5"),
]


@pytest.mark.parametrize(("fields", "words"), BAD_TARGETS)
def test_a_bad_target_is_one_sentence(fields: dict[str, Any], words: str) -> None:
    """The field is named, and so is what it may be."""
    with pytest.raises(ConfigurationError, match=words) as raised:
        experiment(target_data(**fields))
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [None, [], "text", {"name": "x"}, {"name": "x", "nodes": []}])
def test_what_is_no_target_is_refused(data: Any) -> None:
    """For any YAML value in its place, the error is ours."""
    with pytest.raises(ConfigurationError):
        Target.from_dict(data)


BAD_EXPERIMENTS = [
    ({"name": "Ein Name"}, "because it is part of Kubernetes names; found 'Ein Name'"),
    ({"name": "x" * 41}, "at most 40 lower-case letters"),
    ({"name": ""}, "because it is part of Kubernetes names; found ''"),
    ({"name": None}, "`name` must be text; found nothing"),
    ({"replicates": 0}, "`replicates` must be at least 1; found 0"),
    ({"replicates": "two"}, "`replicates` must be a whole number; found 'two'"),
    ({"setups": "static"}, "`setups` must be a list; found 'static'"),
    ({"setups": ["elastic"]}, "`setups.0` is 'elastic', which is unknown: did you mean 'static'"),
    ({"targets": []}, "`targets` is empty; at least 1 is needed"),
    ({"targets": {"name": "x"}}, "`targets` must be a list; found a mapping"),
    ({"colour": "red"}, "`colour` is no key of an experiment file: known are .*description, .*grace_s, name"),
]


@pytest.mark.parametrize(("fields", "words"), BAD_EXPERIMENTS)
def test_a_bad_experiment_is_one_sentence(fields: dict[str, Any], words: str) -> None:
    """It is refused when the DAG is parsed, before money is spent."""
    with pytest.raises(ConfigurationError, match=words):
        read({"name": "nightly", "targets": [target_data()], **fields})


@pytest.mark.parametrize("data", [None, [], "nightly"])
def test_what_is_no_experiment_is_refused(data: Any) -> None:
    """An empty file too."""
    with pytest.raises(
        ConfigurationError, match=r"it\.yaml: an experiment is a mapping with `name` and `targets`; found"
    ):
        read(data)


def test_two_targets_of_one_name_are_refused() -> None:
    """Results are told apart by it."""
    with pytest.raises(ConfigurationError, match=r"it\.yaml: targets: a stands there twice; every name must be unique"):
        experiment(target_data("a"), target_data("a"))


def test_a_cluster_has_one_namespace() -> None:
    """A lock that is a Lease does not reach over namespaces: two trials would run side by side."""
    with pytest.raises(ConfigurationError, match="'shared' use the namespaces default, other"):
        experiment(target_data("a", cluster="shared"), target_data("b", cluster="shared", namespace="other"))


def test_a_target_survives_the_round_trip() -> None:
    """What XCom carries reads back equal, tuples, options and all."""
    data = target_data(region="us-west-2", options={"project": "p"}, nodes={"gpu_skus": ["L4"], "options": {"a": 1}})
    target = Target.from_dict(copy.deepcopy(data))
    assert Target.from_dict(target.as_dict()) == target
    assert (target.variants, target.nodes.gpu_skus) == (("baseline", "fast_download"), ("L4",))


def test_a_target_has_the_nodes_that_its_variants_need() -> None:
    """How images arrive follows from the treatments; what the nodes were before stays the stratum's."""
    plain, snapshot = experiment().targets[0], experiment(target_data(variants=["improved"])).targets[0]
    streamed = experiment(target_data(variants=["improved"], nodes={"cloud": "gke"})).targets[0]
    features = [dict(target.nodes.features) for target in (plain, snapshot, streamed)]
    assert features == [{}, {"image_snapshot": True}, {"image_streaming": True}]
    assert snapshot.nodes_content == plain.nodes_content


def test_references_hold_names_and_nothing_empty() -> None:
    """How cluster and cloud are opened; a cloud without connection has none."""
    plain = Target.from_dict(target_data())
    assert plain.cluster_reference() == {"conn_id": "k8s", "namespace": "default"}
    assert plain.cloud_reference() is None
    full = Target.from_dict(target_data(cloud_conn_id="aws", region="us-west-2", options={"account": "1"}))
    assert full.cloud_reference() == {
        "cloud": "eks",
        "conn_id": "aws",
        "region": "us-west-2",
        "account": "1",
        "cluster": {"conn_id": "k8s", "region": "us-west-2", "namespace": "default"},
    }
    generic = Target.from_dict(target_data(cloud_conn_id="x", nodes={"cloud": "generic"}))
    # A cluster that others run: a cloud that can build nothing, and says so where it is asked.
    assert generic.cloud_reference() == {
        "cloud": "generic",
        "conn_id": "x",
        "cluster": {"conn_id": "k8s", "namespace": "default"},
    }


def test_setups_default_to_both() -> None:
    """The origin ran both."""
    assert experiment().setups == (ScalingSetup.STATIC, ScalingSetup.DYNAMIC)


def test_a_variant_has_no_trials_in_a_set_up_that_it_can_not_change() -> None:
    """A placeholder beside a static start asks for nothing that was not asked for: the plan says so, and saves them."""
    early = experiment(target_data(variants=["baseline", "early"]), variants={"baseline": [], "early": ["early_node"]})
    planned = Counter((str(cell.setup), cell.variant) for cell in early.cells())
    assert planned == {("static", "baseline"): 1, ("dynamic", "baseline"): 1, ("dynamic", "early"): 1}
    assert early.slots() == {"eks-plain": 3 * early.replicates}
    (told,) = early.left_out()
    assert told.startswith("Variant early has no static trials: early_node changes nothing in a static start")
    with pytest.raises(ConfigurationError, match="changes nothing in a static start"):
        early.narrowed(target="eks-plain", setup="static", variant="early", workload=early.workloads[0].name)


def test_a_variant_that_can_help_in_no_set_up_is_refused() -> None:
    """It would have no trial at all."""
    with pytest.raises(ConfigurationError, match="'early' is impossible: early_node changes nothing in a static start"):
        experiment(target_data(variants=["early"]), variants={"early": ["early_node"]}, setups=["static"])
