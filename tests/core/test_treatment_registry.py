"""Treatments of other distributions, found by entry points: one that is broken harms only who names it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from experiment_data import experiment, target_data
from trace_builders import small_chunks
from treatment_traces import SERVED
from trial_builders import a_result

from airflow_llm_provisioning.core.judging import judge_trace
from airflow_llm_provisioning.core.treatments import (
    find_treatment,
    forget_installed,
    ignored_treatments,
    known_treatments,
    plan_deployment,
    resolved,
)
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


def with_attribute(code: str) -> str:
    """Return the code of a treatment with one attribute or method more."""
    return WHOLE.replace('    name = "turbo"\n', f'    name = "turbo"\n    {code}\n')


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


def read_and_planned() -> None:
    """Read an experiment with a variant of the treatment, and plan what it deploys: what a DAG does when parsed."""
    made = experiment(target_data(variants=["mine"]), variants={"mine": ["turbo"]})
    plan_deployment(SERVED[0], made.treatments("mine", "eks"))


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
    assert "remove all but one" in told
    assert find_treatment("turbo") is None
    assert others_work()


def test_one_distribution_that_names_it_twice_is_told_so(install: Install) -> None:
    """To remove one of two distributions would not help."""
    install("llm-turbo", WHOLE, "turbo = {module}:turbo\nturbo = {module}:Turbo")
    told = naming_it()
    assert "one distribution names several" in told
    assert "(llm_turbo:turbo)" in told
    assert "(llm_turbo:Turbo)" in told


@pytest.mark.parametrize("name", ["fast_download", "image_delivery"])
def test_a_taken_name_is_told(install: Install, name: str) -> None:
    """Of a treatment or a group of this package: what has no effect is named, with its distribution."""
    install("llm-fake", WHOLE.replace('"turbo"', f'"{name}"'), f"{name} = {{module}}:turbo")
    (told,) = ignored_treatments().values()
    assert told.startswith(f"{name} is a ")
    assert "'llm-fake'" in told
    assert others_work()


def test_a_group_of_this_package_means_its_own_member(install: Install) -> None:
    """Another distribution's member has a part on a cloud that has none; it never changes what `improved` is."""
    install("llm-turbo", WHOLE.replace('name = "turbo"', 'name = "turbo"; group = "image_delivery"'))
    assert [item.name for item in resolved(["image_delivery"], "eks")] == ["bottlerocket_snapshot"]
    assert [item.name for item in resolved(["image_delivery"], "another")] == ["turbo"]


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
        ("import sys\nsys.exit('no GPU here')\n", "turbo = {module}:turbo", "SystemExit: no GPU here"),
        (WHOLE.replace("def verify", "def judge"), "turbo = {module}:turbo", "is no treatment: it lacks verify."),
        (
            with_attribute("def __init__(self, level): pass"),
            "turbo = {module}:Turbo",
            "could not be imported: TypeError",
        ),
        (with_attribute("order = '50'"), "turbo = {module}:turbo", "its order is '50' instead of a whole number"),
        (with_attribute("clouds = 'eks'"), "turbo = {module}:turbo", "its clouds is 'eks' instead of a set of names"),
        (with_attribute("group = ['fast']"), "turbo = {module}:turbo", "its group is ['fast'] instead of a name"),
        (with_attribute("group = 'fast_download'"), "turbo = {module}:turbo", "a treatment has that name"),
        (with_attribute("steps = ('build',)"), "turbo = {module}:turbo", "instead of a tuple of Step objects"),
        (
            with_attribute("keeps_warm = ('nodes',)"),
            "turbo = {module}:turbo",
            "its keeps_warm is ('nodes',) instead of",
        ),
        (with_attribute("change = None"), "turbo = {module}:turbo", "its change is None instead of a method"),
        (with_attribute("@property\n    def order(self): return 1 / 0"), "turbo = {module}:turbo", "ZeroDivisionError"),
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


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def change(self, plan, workload): return dict(plan.manifest)", "change() returned {"),
        ("def change(self, plan): return plan", "change() raised TypeError: Turbo.change() takes 2 positional"),
        ("def change(self, plan, workload): return plan.manifest['nothing']", "change() raised KeyError: 'nothing'"),
        (
            "def nodes(self, profile): profile.with_feature('x')",
            "nodes() returned None instead of the changed NodeProf",
        ),
        ("def requires(self, profile, workload): return 5", "requires() returned 5 instead of a tuple of sentences"),
        ("def vain_in(self, setup): return True", "vain_in() returned True instead of a sentence or None"),
    ],
)
def test_what_fails_while_an_experiment_is_read_names_its_distribution(install: Install, code: str, words: str) -> None:
    """A DAG that cannot be imported says which package is to blame, and which method."""
    install("llm-turbo", with_attribute(code))
    with pytest.raises(ConfigurationError) as raised:
        read_and_planned()
    assert "entry point 'turbo' of distribution 'llm-turbo' (llm_turbo:turbo), is broken: " in str(raised.value)
    assert words in str(raised.value)


def test_one_sentence_is_taken_for_one_sentence(install: Install) -> None:
    """`("It needs a GPU.")` is a text in Python: it is not told letter by letter."""
    install("llm-turbo", with_attribute('def requires(self, profile, workload): return ("It needs a GPU.")'))
    with pytest.raises(ConfigurationError, match=r"It needs a GPU\."):
        experiment(target_data(variants=["mine"]), variants={"mine": ["turbo"]})


@pytest.mark.parametrize(
    ("answer", "value", "words"),
    [
        ("True", "unknown", "verify() returned True instead of a Verdict"),
        ("None", "unknown", "verify() returned None instead of a Verdict"),
        ('Verdict(self.name, "applied", ("Seen.",))', "unknown", "instead of a Verdict with one of yes, no, unknown"),
        ("Verdict(self.name, 'yes')", "unknown", "It says yes and names no evidence."),
        ("Verdict(self.name, 'yes', 5)", "unknown", "verify() returned 5 instead of a tuple of sentences"),
        ("Verdict(self.name, 'no', ('Not seen.'))", "no", "Not seen."),
        ("Verdict('another', 'yes', ['Seen.'])", "yes", "Seen."),
    ],
)
def test_a_verdict_of_another_shape_proves_nothing(install: Install, answer: str, value: str, words: str) -> None:
    """The trial gets its row under the treatment's name; what has no evidence is not believed."""
    install("llm-turbo", WHOLE.replace('Verdict(self.name, "yes", ("Seen.",))', answer))
    judged = judge_trace(small_chunks(treatments=["turbo"]))
    (verdict,) = [item for item in judged.treatments if item.claim == "turbo"]
    assert (verdict.value, len(verdict.evidence)) == (value, 1)
    assert words in verdict.evidence[0]
    assert judged.applied == {"yes": "applied", "no": "not applied"}.get(value, value)


def test_a_treatment_that_cannot_say_whether_it_was_there_leaves_it_open(install: Install) -> None:
    """`undeclared` is asked for trials that never heard of it too: they get their row, and are not comparable."""
    install("llm-turbo", f"{WHOLE}\nTurbo.undeclared = lambda self, view: 1 / 0\n")
    judged = judge_trace(small_chunks())
    (verdict,) = judged.treatments
    assert (verdict.claim, verdict.value, judged.applied) == ("nothing_undeclared", "unknown", "unknown")
    assert "'turbo'" in verdict.evidence[0]
    assert "ZeroDivisionError" in verdict.evidence[0]
