"""Treatments of other distributions, found by entry points: one that is broken harms only who names it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from experiment_data import experiment, target_data
from trace_builders import small_chunks
from trial_builders import a_result

from airflow_llm_provisioning.core.judging import judge_trace
from airflow_llm_provisioning.core.treatments import find_treatment, forget_installed, known_treatments
from airflow_llm_provisioning.exceptions import ConfigurationError

GROUP = "llm_provisioning.treatments"
WHOLE = """
from airflow_llm_provisioning.core.treatments import BaseTreatment
from airflow_llm_provisioning.core.verdicts import Verdict


class Turbo(BaseTreatment):
    name = "turbo"

    def verify(self, view):
        return Verdict(self.name, "yes", ("Seen.",))


turbo = Turbo()
"""
RAISING = WHOLE.replace('return Verdict(self.name, "yes", ("Seen.",))', 'raise KeyError("spec")')

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put distributions with one module and their entry points on the path, as pip leaves them."""
    modules: set[str] = set()

    def distribution(name: str, code: str, entry: str = "turbo = {module}:turbo") -> None:
        module = name.replace("-", "_")
        modules.add(module)
        folder = tmp_path / name
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entry.format(module=module)}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        forget_installed()

    forget_installed()
    yield distribution
    for module in modules:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    forget_installed()


def naming_it(name: str = "turbo") -> str:
    """Return the refusal of an experiment with a variant that names a treatment."""
    with pytest.raises(ConfigurationError) as raised:
        experiment(target_data(variants=["mine"]), variants={"mine": [name]})
    told = str(raised.value)
    assert told.startswith(f"it.yaml: variants.mine: Treatment '{name}' cannot be used: ")
    assert told.endswith(".")
    assert "\n" not in told
    return told


def others_work() -> bool:
    """Whether an experiment that does not name the broken one is read, with every treatment of this package."""
    made = experiment(target_data(variants=["baseline", "fast_download"]))
    own = {"fast_download", "bake_packages", "bottlerocket_snapshot", "gke_image_streaming", "aks_artifact_streaming"}
    return own <= known_treatments().keys() and bool(made.targets)


@pytest.mark.parametrize("entry", ["turbo = {module}:turbo", "turbo = {module}:Turbo"], ids=["instance", "class"])
def test_a_treatment_of_another_distribution_is_found(install: Install, entry: str) -> None:
    """By name, in an experiment, and by the judgement of a trace."""
    assert find_treatment("turbo") is None
    install("llm-turbo", WHOLE, entry)
    assert find_treatment("turbo") is not None
    made = experiment(target_data(variants=["mine"]), variants={"mine": ["turbo"]})
    assert [item.name for item in made.treatments("mine", "eks")] == ["turbo"]
    assert judge_trace(small_chunks(treatments=["turbo"])).applied == "applied"


def test_two_distributions_of_one_name_are_both_refused(install: Install) -> None:
    """Which of them would be used is chance; both are named."""
    install("llm-turbo", WHOLE)
    install("llm-other", WHOLE)
    told = naming_it()
    assert "llm-turbo" in told
    assert "llm-other" in told
    assert find_treatment("turbo") is None
    assert others_work()


def test_a_name_of_this_package_cannot_be_taken(install: Install) -> None:
    """The trial would not be what its name says; the package's own stays."""
    install("llm-fake", WHOLE.replace('"turbo"', '"fast_download"'), "fast_download = {module}:turbo")
    found = find_treatment("fast_download")
    assert type(found).__module__ == "airflow_llm_provisioning.core.treatments.fast_download"
    assert others_work()


@pytest.mark.parametrize(
    ("code", "entry", "words"),
    [
        ("import nowhere_at_all\n", "turbo = {module}:turbo", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise RuntimeError('no GPU\\nhere')\n", "turbo = {module}:turbo", "RuntimeError: no GPU here"),
        (WHOLE, "turbo = {module}:missing", "AttributeError"),
        (
            "class Turbo:\n    name = 'turbo'\nturbo = Turbo()\n",
            "turbo = {module}:turbo",
            "it lacks group, clouds, order",
        ),
        ("turbo = 5\n", "turbo = {module}:turbo", "is no treatment: it lacks name"),
        (WHOLE, "speed = {module}:turbo", "calls itself 'turbo': entry point and treatment must have one name"),
        (WHOLE.replace('"turbo"', '"Turbo!"'), "Turbo! = {module}:turbo", "calls itself 'Turbo!'"),
        (WHOLE.replace('"turbo"', "7"), "turbo = {module}:turbo", "calls itself 7"),
    ],
)
def test_a_broken_one_is_refused_where_it_is_named(install: Install, code: str, entry: str, words: str) -> None:
    """With distribution and reason; every other experiment is read."""
    install("llm-broken", code, entry)
    told = naming_it(entry.partition(" ")[0])
    assert "'llm-broken'" in told
    assert words in told
    assert others_work()


def test_a_treatment_that_this_installation_does_not_know_is_unknown() -> None:
    """Never `none`, which would be comparable: nothing verified it."""
    judged = judge_trace(small_chunks(treatments=["no_such_treatment"]))
    (verdict,) = [item for item in judged.treatments if item.claim == "no_such_treatment"]
    assert (verdict.value, judged.applied) == ("unknown", "unknown")
    assert "no treatment 'no_such_treatment'" in verdict.evidence[0]
    assert not a_result(variant="mine", treatments=["no_such_treatment"], applied=judged.applied).comparable
    assert a_result(variant="mine", treatments=["no_such_treatment"], applied="applied").comparable


def test_a_treatment_whose_verdict_raises_is_unknown(install: Install) -> None:
    """The trial gets its row; the reason is in the evidence."""
    install("llm-turbo", RAISING)
    judged = judge_trace(small_chunks(treatments=["turbo"]))
    (verdict,) = [item for item in judged.treatments if item.claim == "turbo"]
    assert (verdict.value, judged.applied) == ("unknown", "unknown")
    assert "KeyError" in verdict.evidence[0]


def test_a_treatment_that_cannot_say_whether_it_was_there_leaves_it_open(install: Install) -> None:
    """`undeclared` is asked for trials that never heard of it too: they get their row, and are not comparable."""
    install("llm-turbo", f"{WHOLE}\nTurbo.undeclared = lambda self, view: 1 / 0\n")
    judged = judge_trace(small_chunks())
    (verdict,) = judged.treatments
    assert (verdict.claim, verdict.value, judged.applied) == ("nothing_undeclared", "unknown", "unknown")
    assert "'turbo'" in verdict.evidence[0]
    assert "ZeroDivisionError" in verdict.evidence[0]
