"""The figures of all installed treatments: their keys, the search, and the page that is generated from its runs."""

import json
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from searched import pays, record
from searched.record import best_of_cloud, record_lines
from searched.trials import Book, Combination, refusal, treatments_on, trial
from treatments import KEYS, PARTS, arguments, measure

from airflow_llm_provisioning.core.treatments import known_treatments

BASE = Combination("eks", "karpenter", "static", "phi3-current", ())
# What each treatment of a made-up cloud saves, in seconds.
SAVES = {"bake_packages": 80.0, "soci_parallel_pull": 180.0, "fast_download": -10.0, "direct_loader": 6.0}
SLOWER = "optimization_level_0"


class Here(Executor):
    """Runs in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run at once."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def made_up(one: Combination, *, warm: bool = False) -> dict[str, Any]:
    """A trial whose treatments add up; bottlerocket_snapshot is fast and never verified."""
    doubted = "bottlerocket_snapshot" in one.names
    total = 470.0 - sum(SAVES.get(name, 0.0) for name in one.names) - (400.0 if doubted else 0.0)
    total += (20.0 if one.autoscaler == "luna" else 0.0) - (30.0 if SLOWER in one.names else 0.0)
    return {
        **one._asdict(),
        "names": list(one.names),
        "total_s": 40.0 if warm else total,
        "start": "warm" if warm else "cold",
        "counts": not doubted,
        "why": "unknown: bottlerocket_snapshot unknown" if doubted else "",
        "verdicts": dict.fromkeys(one.names, "yes"),
        "floor": None,
        "floor_gap": None,
        "floor_s": None,
        "keeps_warm": [],
        "prepared": ["build"] if "bake_packages" in one.names else [],
        "usd_hour": {"head": 0.1, "worker": 0.9},
        "tokens_s": 40.0 if SLOWER in one.names else 50.0,
    }


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> tuple[Book, dict[str, Any]]:
    monkeypatch.setattr("searched.trials.trial", made_up)
    monkeypatch.setattr(record, "trial", made_up)
    monkeypatch.setattr(record, "treatments_on", lambda cloud: (*SAVES, SLOWER, "bottlerocket_snapshot"))
    book = Book(Here())
    return book, best_of_cloud(book, "eks", workload="phi3-current", budget=60)


def test_the_search_leaves_out_what_slows_and_what_is_not_verified(searched: tuple[Book, dict[str, Any]]) -> None:
    """The fastest of all would be the one that nothing proves: it does not count, and is named with the reason."""
    _, found = searched
    assert found["best"]["names"] == ["bake_packages", "direct_loader", "soci_parallel_pull"]
    gains = {gain["treatment"]: gain["gain_s"] for gain in found["gains"]}
    assert gains == {"bake_packages": 80.0, "direct_loader": 6.0, "soci_parallel_pull": 180.0}
    assert all(gain["verdict"] == "yes" for gain in found["gains"])
    assert ["bottlerocket_snapshot"] in [item["names"] for item in found["did_not_count"]]
    assert found["runner_up"]["total_s"] > found["best"]["total_s"]


def test_a_service_that_is_slower_is_no_record(searched: tuple[Book, dict[str, Any]]) -> None:
    """It is told beside the best, with its speed; the other node autoscaler was tried too."""
    book, found = searched
    assert SLOWER not in found["best"]["names"]
    assert found["any_speed"]["names"] == sorted([*found["best"]["names"], SLOWER])
    text = "\n".join(record_lines([found]))
    assert "at any speed: 174 s with" in text
    assert "serves 40.0 tokens/s" in text
    assert {one.autoscaler for one in book.known} == {"karpenter", "luna"}


def test_a_treatment_gets_the_target_that_it_needs() -> None:
    """An option of the nodes, a version, a gate: it is not left out, and is held against a baseline on that target."""
    for name, form in (
        ("peer_to_peer", "ami_alias al2023"),
        ("image_volume", "Kubernetes 1.35"),
        ("capacity_buffer_object", "CapacityBuffers"),
        ("capacity_buffer_static", "gate StaticCapacity"),
    ):
        one = BASE.of([name])
        assert one.form == (form,)
        assert refusal(one) is None, name
        assert (one.bare().names, one.bare().form) == ((), (form,))
    assert BASE.of(["bake_packages"]).form == ()
    # Bottlerocket's snapshot on a node of another system.
    assert refusal(BASE.of(["peer_to_peer", "bottlerocket_snapshot"])) is not None


def test_the_cheapest_needs_the_least_preparation_within_a_tenth(searched: tuple[Book, dict[str, Any]]) -> None:
    """It is one of the trials that count and take at most a tenth longer."""
    _, found = searched
    assert found["cheapest"]["total_s"] <= found["best"]["total_s"] * 1.1
    text = "\n".join(record_lines([found]))
    assert "target 180 s not met" in text
    assert "warm: 40 s (target 30 s not met)" in text


def test_a_spent_budget_ends_the_search_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not run is not guessed."""
    monkeypatch.setattr("searched.trials.trial", made_up)
    monkeypatch.setattr(record, "trial", made_up)
    found = best_of_cloud(Book(Here()), "eks", workload="phi3-current", budget=4)
    assert found["search_ended"] == "the budget of trials was spent"


def test_alternatives_are_not_combined() -> None:
    """A combination that the treatments refuse is not run, and keeps its reason."""
    assert refusal(BASE.of(["bottlerocket_snapshot", "soci_parallel_pull"])) is not None
    assert refusal(BASE.of(["bake_packages", "soci_parallel_pull"])) is None
    assert "gke_image_streaming" not in treatments_on("eks")


def test_a_combination_is_a_whole_recorded_trial() -> None:
    """Judged by what is shipped: verified, cold, with its floor."""
    found = trial(BASE.of(["bake_packages", "soci_parallel_pull"]))
    assert (found["counts"], found["start"], found["origin"]) == (True, "cold", "simulated"), found["why"]
    assert found["verdicts"]["soci_parallel_pull"] == "yes"
    assert found["floor_s"][0] < found["total_s"]


def test_when_a_method_pays_follows_from_its_row() -> None:
    """No figure is not known; what keeps a node warm pays only where its idle cost is worth it."""
    row = {"alone_s": 50.0, "in_best_s": 40.0, "in_best": True, "why": "", "keeps_warm": [], "prepared": ["build"]}
    assert pays.when(row) == "at every deployment, once prepared"
    assert pays.when({**row, "alone_s": None, "in_best_s": None, "why": "no GPU"}) == "not known: no GPU"
    assert pays.when({**row, "alone_s": -3.0, "in_best_s": 0.5}) == "not here"
    assert pays.when({**row, "alone_s": -3.0}) == "with the others of the best combination"
    assert "idle node" in pays.when({**row, "keeps_warm": ["node"]})


def test_the_page_is_generated_from_its_data() -> None:
    """docs/treatments/which-pays.md is not edited by hand: `python benchmarks/treatments.py --only record --page`."""
    data = json.loads(pays.DATA.read_text(encoding="utf-8"))
    assert pays.PAGE.read_text(encoding="utf-8") == pays.page(data)
    assert {row["treatment"] for row in data["rows"]} <= known_treatments().keys()
    assert {row["cloud"] for row in data["rows"]} == {"eks", "gke", "aks"}


def test_every_key_is_printed_and_a_part_that_was_not_run_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing is missing, never 0; a part that fails does not prevent the others and is named."""

    def failing(asked: Any, size: Any) -> dict[str, Any]:
        raise RuntimeError("it failed")

    monkeypatch.setitem(PARTS, "noops", failing)
    monkeypatch.setitem(PARTS, "calibration", lambda asked, size: {"calibration_statements_met": "3 of 12"})
    figures, _, broken = measure(arguments(["--short", "--only", "noops", "calibration"]))
    assert tuple(figures) == KEYS
    assert broken == ["noops"]
    assert figures["treatments"] == len(known_treatments())
    assert (figures["noops_total"], figures["calibration_statements_met"]) == (None, "3 of 12")
