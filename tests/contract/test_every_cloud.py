"""The same claims against every cloud, reached as users reach it: an Airflow connection to its API over HTTP."""

from collections.abc import Callable

import pytest
from operator_harness import context, run
from scenes import CLOUDS, SCENES, claimed, reference
from simulator_in_background import BackgroundSimulator

from airflow_llm_provisioning.connections import open_cloud, open_store, opened_cloud
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.treatments import Treatment, known_treatments, plan_deployment, resolved, steps_of
from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS
from airflow_llm_provisioning.core.workload import builtin_workload
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError, ProvisioningError
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.gateways.clouds.registry import known_clouds
from airflow_llm_provisioning.operators import BuildServingImage

ALL = [*CLOUDS, "generic"]


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", ALL)
def test_an_unknown_verb_is_refused(experiment: Experiment, cloud: str) -> None:
    """Before anything happens, by name."""
    opened = open_cloud(reference(experiment, cloud))
    assert opened.name == cloud
    with pytest.raises(ConfigurationError, match="teleport"):
        opened.start("teleport", {})


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_treatments_preparations_are_verbs_of_their_cloud(experiment: Experiment, cloud: str) -> None:
    """What a variant needs prepared, its cloud can do."""
    verbs = set(open_cloud(reference(experiment, cloud)).verbs())
    steps = {step.name for step in steps_of(_treatments(cloud))}
    assert steps
    assert steps - {"warm_image"} <= verbs


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", ALL)
def test_claims_that_cannot_be_told_are_unknown(experiment: Experiment, cloud: str) -> None:
    """One answer per claim, in order; nothing is known of a trial without facts, and of an unknown claim."""
    claims = [*dict.fromkeys(claim for item in known_treatments().values() for claim in item.claims), "made_up"]
    found = open_cloud(reference(experiment, cloud)).verify(claims, {})
    assert [item.claim for item in found if item.claim in claims] == claims
    assert not [item for item in found if item.holds is True]
    assert all(item.detail and item.source for item in found)


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_nothing_is_started_without_a_ledger(experiment: Experiment, cloud: str) -> None:
    """A gateway that cannot write an intent creates nothing."""
    opened = open_cloud(reference(experiment, cloud))
    before = {(item.kind, item.identity) for item in opened.list_owned()}
    recipe = {"base": "rayproject/ray:2.9.0", "pip": ["a==1"]}
    with pytest.raises(ConfigurationError, match="there is no results store to record it in"):
        opened.start("build_image", {"recipe": recipe, "repository": "never", "keep_days": 1})
    assert {(item.kind, item.identity) for item in opened.list_owned()} == before


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_build_is_kept_found_again_and_listed(
    experiment: Experiment, running: BackgroundSimulator, cloud: str
) -> None:
    """The operator through the triggerer: image with digest and size, a row beside the results, simulated; the same
    recipe again is the same image, reused; what was made is listed by tag.
    """
    target = f"{cloud}-target"
    recipe = plan_deployment(builtin_workload(), _treatments(cloud)).recipe
    before, built = SCENES[cloud].builds(running), []
    for _ in range(2):
        operator = BuildServingImage(
            task_id="b", cloud=reference(experiment, cloud), recipe=recipe.as_dict(), target=target,
            deferrable=True,
        )  # fmt: skip
        built.append(run(operator, context()))
    first, second = built
    assert first["digest"].startswith("sha256:")
    assert first["size_bytes"] > 1_000_000_000
    assert recipe.tag() in first["image"]
    assert (second["image"], second["digest"], second["reused"]) == (first["image"], first["digest"], True)
    store = open_store()
    rows = store.preparations(target, "build_image")
    store.close()
    assert [(row.origin, row.content, row.reused) for row in rows] == [
        ("simulated", recipe.content, False),
        ("simulated", recipe.content, True),
    ]
    # Seconds would compare a build in virtual time with calls whose real time the load of the machine decides.
    assert SCENES[cloud].builds(running) == before + 1
    assert open_cloud(reference(experiment, cloud)).list_owned()


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_listing_that_fails_raises(
    experiment: Experiment, environment: dict[str, str], cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is not an empty account: clean is only said of what was listed."""
    found = reference(experiment, cloud)
    variable = f"AIRFLOW_CONN_{found['conn_id'].upper()}"
    monkeypatch.setenv(variable, SCENES[cloud].unreachable(environment[variable]))
    with pytest.raises(ProvisioningError) as raised:
        open_cloud(found).list_owned()
    assert "\n" not in str(raised.value)


def test_an_unknown_cloud_names_the_known() -> None:
    """One sentence."""
    with pytest.raises(ConfigurationError, match=r"Cloud 'oci' is unknown: choose one of eks, gke, aks, generic\."):
        open_cloud({"cloud": "oci"})


@pytest.mark.usefixtures("_installed")
def test_a_cloud_of_another_package_is_known_by_its_entry_point() -> None:
    """Installing the package is all: no line of the provider names it."""
    assert known_clouds() == ("eks", "gke", "aks", "generic", "toy")
    with pytest.raises(ConfigurationError, match=r"Cloud 'oci' is unknown: choose one of .*, generic, toy\."):
        open_cloud({"cloud": "oci"})


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", ALL)
def test_what_was_opened_can_be_closed(experiment: Experiment, cloud: str) -> None:
    """Every opener closes what it opened, at the end or after an error, used or not; twice is no error."""
    with opened_cloud(reference(experiment, cloud), results_conn_id="llm_provisioning_results") as opened:
        opened.list_owned()
    opened.close()


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", ALL)
def test_an_ended_operation_stays_as_it_ended(experiment: Experiment, cloud: str) -> None:
    """A look at what is done changes nothing and sends no request."""
    opened = open_cloud(reference(experiment, cloud))
    for ended in (Operation("build_image", {}).succeeded(image="x"), Operation("build_image", {}).failed("why")):
        assert opened.poll(ended) == ended


@pytest.mark.usefixtures("_reached")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_strangers_object_is_refused_in_one_sentence(
    experiment: Experiment, running: BackgroundSimulator, strangers: Callable[[str], list[Owned]], cloud: str
) -> None:
    """Even if a caller says it is ours, its own marks are read again before it is deleted."""
    scene, opened = SCENES[cloud], open_cloud(reference(experiment, cloud))
    for thing in strangers(cloud):
        with pytest.raises(CloudError) as raised:
            opened.delete_owned(claimed(thing.kind, thing.identity))
        assert thing.identity.rpartition("/")[2] in str(raised.value)
        assert "\n" not in str(raised.value)
        assert scene.stands(running, thing), thing


def _treatments(cloud: str) -> tuple[Treatment, ...]:
    """Return the treatments of the variant that a cloud's scene is for."""
    return resolved(BUILTIN_VARIANTS[SCENES[cloud].variant], cloud)
