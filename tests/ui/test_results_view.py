"""*Results* and *Trial*: what a reader sees, a page at a time, with every text of a cluster as a text."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

from result_builders import a_trial
from trial_builders import OPENED_AT

from airflow_llm_provisioning.core.result import MilestoneResult, TrialStatus
from airflow_llm_provisioning.gateways.store import ResultsStore

HOSTILE = '<img src=x onerror="alert(1)">'


def words(page: Any) -> str:
    """Return the words of an answer, single-spaced."""
    assert page.status_code == 200, page.text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def comparison_of(page: str) -> str:
    """Return the address from which a page of results loads its comparison."""
    (found,) = re.findall(r'data-load="(results/comparison[^"]*)"', page)
    return str(unescape(found))


def test_an_empty_store_says_what_to_do(viewer: Any) -> None:
    """Nothing is made up where there is nothing."""
    assert "There are no trials yet" in words(viewer.get("results"))


def test_the_comparison_is_the_reports(viewer: Any, store: ResultsStore) -> None:
    """Cards, table, charts and the label of simulated figures are the components of the HTML report."""
    for n in range(3):
        store.save_trial(a_trial(f"b-{n}"))
        store.save_trial(a_trial(f"i-{n}", variant="improved", factor=0.5))

    told = words(viewer.get(comparison_of(viewer.get("results").text)))

    assert "SIMULATED Every trial" in told
    assert "EKS static" in told
    assert "-50 %" in told
    assert "phases of the deciding path" in told


def test_an_arm_that_serves_slower_says_so_beside_its_gain(viewer: Any, store: ResultsStore) -> None:
    """On its card and above its table, which the HTML report shows too."""
    for n in range(3):
        for variant, factor, tokens_s in (("baseline", 1.0, 50.0), ("improved", 0.5, 30.0)):
            speed = {"tokens_s": tokens_s, "low": tokens_s - 1, "high": tokens_s + 1}
            store.save_trial(a_trial(f"{variant}-{n}", variant=variant, factor=factor, speed=speed))

    told = words(viewer.get("results/comparison"))

    assert "-50 % published: -46 % serves 40 % slower" in told or "serves 40 % slower SIMULATED" in told, told[:600]
    assert "SERVES SLOWER static improved starts 50.0 % faster and serves 40 % slower than the baseline" in told


def test_the_comparison_is_of_what_was_asked_for(viewer: Any, store: ResultsStore) -> None:
    """The page names experiment, run and target to the part that it loads; an older page of trials has no such part."""
    for n in range(60):
        kept = {"run_id": f"run-{n // 30}", "target": f"target-{n % 2}"}
        store.save_trial(a_trial(f"t-{n:02d}", opened_at=OPENED_AT + timedelta(minutes=n), **kept))

    page = viewer.get("results", params={"run": "run-0", "target": "target-1"}).text
    whole = viewer.get("results").text

    assert comparison_of(page) == "results/comparison?run=run-0&target=target-1"
    assert "all 15 trials" in words(viewer.get(comparison_of(page)))
    assert "all 60 trials" in words(viewer.get(comparison_of(whole)))
    (older,) = re.findall(r'href="(results\?[^"]*before=[^"]*)"', whole)
    assert "results/comparison" not in viewer.get(unescape(older)).text
    assert "no trials of this selection" in words(viewer.get("results/comparison", params={"run": "another"}))


def test_trials_are_shown_a_page_at_a_time(viewer: Any, store: ResultsStore) -> None:
    """Following "Older trials" shows every trial once, the newest first, also those that were opened together."""
    for n in range(120):
        store.save_trial(a_trial(f"t-{n:03d}", phases={}, opened_at=OPENED_AT + timedelta(minutes=n // 3)))
    address, seen = "results", []
    while address:
        page = viewer.get(address).text
        table = page[page.index('id="trials"') :]
        seen += re.findall(r'href="trial\?id=(t-\d+)"', table)
        found = re.search(r'href="(results\?[^"]*before=[^"]*)"', page)
        address = unescape(found.group(1)) if found else ""

    assert seen == [f"t-{n:03d}" for n in reversed(range(120))]


def test_a_trial_shows_what_decided_and_what_ran_beside(viewer: Any, store: ResultsStore) -> None:
    """Milestones of both pods become spans; those off the deciding path say so."""
    stones = [
        MilestoneResult(name, *(OPENED_AT + timedelta(seconds=s),) * 2, "made up")
        for name, s in [
            ("submitted", 0),
            ("raycluster_created", 2),
            ("head.pod_created", 3),
            ("head.scheduled", 60),
            ("worker.pod_created", 3),
            ("worker.scheduled", 90),
        ]
    ]
    phases = {"operator_start": 2, "worker_pod_creation": 1, "worker_scheduling": 87}
    store.save_trial(a_trial("one", phases=phases, milestones=stones))

    page = viewer.get("trial", params={"id": "one"})

    assert "worker_scheduling: 87.0 s" in words(page)
    assert "head_scheduling: 57.0 s, ran beside the deciding path" in words(page)
    assert "no recording" in words(page)
    assert 'href="../dags/a_dag/runs/run-1"' in page.text


def test_a_failed_trial_is_red_and_says_why(viewer: Any, store: ResultsStore) -> None:
    """The status is a word, not only a colour."""
    store.save_trial(a_trial("bad", status=TrialStatus.FAILED, total_s=None, phases={}, reason="Pod x: ErrImagePull."))

    page = viewer.get("trial", params={"id": "bad"})

    assert 'class="badge status bad">failed' in page.text
    assert "Pod x: ErrImagePull." in words(page)
    assert "it never became ready" in words(page)


def test_texts_of_clusters_are_texts(viewer: Any, store: ResultsStore) -> None:
    """Names, reasons, flags and verdicts may hold markup; none of it becomes an element."""
    verdicts = [{"claim": HOSTILE, "value": "no", "evidence": [HOSTILE]}]
    store.save_trial(
        a_trial(
            HOSTILE,
            status=TrialStatus.FAILED,
            reason=HOSTILE,
            flags=(HOSTILE,),
            verdicts=verdicts,
            run_id=HOSTILE,
            experiment=HOSTILE,
            target=HOSTILE,
            environment={"worker": {"instance_type": HOSTILE}},
        )
    )
    for address in ("results", comparison_of(viewer.get("results").text), f"trial?id={HOSTILE}"):
        page = viewer.get(address)
        assert page.status_code == 200
        assert "onerror" in page.text
        assert "<img" not in page.text


def test_a_page_needs_no_inline_style_or_script(viewer: Any, store: ResultsStore) -> None:
    """The Content Security Policy would refuse them."""
    store.save_trial(a_trial("one"))
    for address in ("results", "results/comparison", "trial?id=one"):
        page = viewer.get(address).text
        assert not re.search(r"\sstyle=|<style|\son\w+=", page)
        assert not re.search(r"<script(?![^>]*\ssrc=)", page)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
