"""The HTML report: what it must contain, and that it needs no other file."""

import re
import sys
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from result_builders import ENVIRONMENT, PHASES, a_preparation, a_sweep, a_trial
from trial_builders import OPENED_AT

from airflow_llm_provisioning.core.result import MilestoneResult, TrialResult, TrialStatus
from airflow_llm_provisioning.exceptions import MissingExtraError
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.report.page import write_report


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = ResultsStore.open(f"sqlite:///{tmp_path / 'results.db'}")
    yield opened
    opened.close()


def report(store: ResultsStore, *trials: TrialResult, sweep: dict[str, Any] | None = None, **selection: str) -> str:
    """Save trials, write the report next to the database, and return its text."""
    for trial in trials:
        store.save_trial(trial)
    path = Path(str(store._engine.url.database)).parent / "out" / "report.html"
    write_report(path, store, selection, sweep=sweep)
    return path.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """Return a page's words, without markup and style, single-spaced."""
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


def an_arm(variant: str, n: int, **values: Any) -> list[TrialResult]:
    return [a_trial(f"{variant}-{i}", variant=variant, **values) for i in range(n)]


def test_it_is_one_file_without_external_resources(store: ResultsStore) -> None:
    """No script, style sheet, font or image is loaded: the only addresses are SVG's namespaces."""
    page = report(store, *an_arm("baseline", 2), *an_arm("improved", 2, factor=0.5), sweep=a_sweep())
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"<(script|link|img|iframe)\b|@import|url\((?!#)", page)
    assert page.count('role="img"') == 2


def test_a_simulated_page_has_a_prominent_label(store: ResultsStore) -> None:
    """The label is before the first figure, and at each of them."""
    page = report(store, a_trial("one"), a_trial("two", variant="improved"))
    assert text_of(page).index("SIMULATED") < text_of(page).index("%")
    assert "Every trial on this page ran on a simulator" in page
    assert 'class="badge simulated"' in page


def test_a_mixed_page_separates_simulated_and_measured_trials(store: ResultsStore) -> None:
    """Measured and simulated trials of one cell are never in one table."""
    page = text_of(report(store, a_trial("sim"), a_trial("real", origin="measured")))
    assert "1 of 2 trials on this page ran on a simulator" in page
    assert page.count("1 of 1") == 2


def test_each_family_has_a_section_that_names_what_differs(store: ResultsStore) -> None:
    """Two node autoscalers on one cloud: two sections with figures of their own, and two cards."""
    trials = [
        a_trial(f"{autoscaler}-{variant}", variant=variant, autoscaler=autoscaler, factor=factor)
        for autoscaler, fast in (("luna", 0.5), ("karpenter", 0.8))
        for variant, factor in (("baseline", 1.0), ("improved", fast))
    ]
    page = report(store, *trials)
    told = text_of(page)
    assert "EKS simulated workload phi3-2025; node autoscaler luna" in told.replace("SIMULATED", "simulated")
    assert "EKS simulated workload phi3-2025; node autoscaler karpenter" in told.replace("SIMULATED", "simulated")
    assert len(set(re.findall(r'<section id="(eks-[0-9a-f]{16})"', page))) == 2
    assert "EKS static node autoscaler karpenter -20 %" in told
    assert "EKS static node autoscaler luna -50 %" in told


def test_a_stratum_without_the_bundle_has_a_card_per_variant(store: ResultsStore) -> None:
    """Variants are named by the experiment file: what is compared is shown, under its own name."""
    page = text_of(report(store, a_trial("b"), a_trial("m", variant="mine", factor=0.5)))
    assert "EKS static mine -50 % nothing published" in page


def test_facts_that_differ_stand_below_the_timing_table(store: ResultsStore) -> None:
    """A reader sees them before the charts."""
    other = {**ENVIRONMENT, "head": {**ENVIRONMENT["head"], "instance_type": "m5.2xlarge"}}
    page = text_of(report(store, a_trial("b"), a_trial("i", variant="improved", environment=other)))
    sentence = (
        "static improved differs from its baseline in head instance type: m5.2xlarge (1), baseline m5.xlarge (1)."
    )
    assert sentence in page
    assert page.index(sentence) < page.index("static: phases of the deciding path")


def test_a_row_of_version_0_1_says_so(store: ResultsStore) -> None:
    """Its node autoscaler was not recorded, and is not made up."""
    page = text_of(report(store, a_trial("old", nodes="0.1:night", region=None, autoscaler=None)))
    assert "Rows of version 0.1 recorded no region" in page
    assert "node autoscaler not recorded" in page


def test_a_measured_page_has_no_such_label(store: ResultsStore) -> None:
    """A measured trial is not called simulated."""
    assert "SIMULATED" not in text_of(report(store, a_trial("one", origin="measured")))


def test_published_reductions_are_shown(store: ResultsStore) -> None:
    """EKS static has this reduction, the origin's -26 %, and the note that two trials give no interval."""
    page = text_of(report(store, *an_arm("baseline", 2), *an_arm("improved", 2, factor=0.4)))
    assert "-60.0 % no interval: n < 3 -26 %" in page
    assert "published: -26 %" in page


def test_an_interval_is_printed_where_there_is_one(store: ResultsStore) -> None:
    """Three trials per variant give a 90 % interval, and no note about a missing one."""
    page = text_of(report(store, *an_arm("baseline", 3), *an_arm("improved", 3, factor=0.4)))
    assert "-60.0 % (90%: -60.0 to -60.0)" in page
    assert "no interval: n < 3" not in page


def test_a_bar_is_one_way_to_the_endpoint_and_ends_at_its_mean_total(store: ResultsStore) -> None:
    """Trials that passed other phases are another bar: each is as long as the mean of its own totals."""
    short = {name: s for name, s in PHASES.items() if name != "head_image_pull"}
    trials = [a_trial("with"), a_trial("also", factor=1.1), a_trial("without", phases=short)]
    page = report(store, *trials)
    assert f'class="bar-value">{1.05 * sum(PHASES.values()):.0f} s<' in page
    assert f'class="bar-value">{sum(short.values()):.0f} s<' in page
    assert page.count('class="dot"') == len(trials)
    assert "baseline, path 1 of 2 (n=2)" in page
    assert "static/baseline, path 2 of 2 (n=1)" in text_of(page)


def test_chart_ink_follows_the_page(store: ResultsStore) -> None:
    """No text of a chart has its own colour, so that it is readable on a dark page."""
    page = report(store, a_trial("one"), sweep=a_sweep())
    inks = set(re.findall(r'<text [^>]*fill="([^"]+)"', page))
    assert inks == {"currentColor"}
    assert "prefers-color-scheme: dark" in page


def test_excluded_trials_are_listed_with_their_reason(store: ResultsStore) -> None:
    """A failed trial, a warm one and one with an unverified treatment are all listed with their reasons."""
    doubt = {"claim": "image_streamed", "value": "unknown", "evidence": ["The worker's pull was not seen."]}
    page = text_of(
        report(
            store,
            a_trial("good"),
            a_trial("bad", status=TrialStatus.FAILED, reason="Quota refused.", total_s=None, phases={}),
            a_trial("tepid", start="warm"),
            a_trial("doubtful", variant="improved", applied="unknown", verdicts=[doubt]),
        )
    )
    listed = page[page.index("Not counted") :]
    assert re.search(r"bad eks static baseline failed Quota refused\.", listed)
    assert re.search(r"tepid eks static baseline start warm", listed)
    assert re.search(r"doubtful eks static improved treatment unknown .*The worker's pull was not seen\.", listed)
    assert "good eks static" not in listed


def test_preparations_have_a_price_or_a_reason_for_its_absence(store: ResultsStore) -> None:
    """A price, or the reason for its absence, is shown; another target's preparation is not."""
    store.save_preparation(a_preparation())
    store.save_preparation(a_preparation(verb="snapshot_image", price_usd=0.5, price_basis="by the hour"))
    store.save_preparation(a_preparation("gke-fast", price_basis="not of these trials"))
    page = text_of(report(store, a_trial("one", variant="improved")))
    assert "build image 612.0 made not known the simulator sells nothing" in page
    assert "snapshot image 612.0 made 0.50 USD by the hour" in page
    assert "not of these trials" not in page


def test_preparations_of_another_dag_run_are_shown(store: ResultsStore) -> None:
    """`prepare_targets` has its own run. A preparation that created something is shown, however often it was reused
    since; one after the trials is not.
    """
    store.save_preparation(a_preparation(run_id="prepare-1", price_usd=0.25))
    for night in ("prepare-2", "prepare-3"):
        store.save_preparation(a_preparation(run_id=night, seconds=0.0, reused=True, price_basis=f"found by {night}"))
    later = OPENED_AT + timedelta(days=30)
    store.save_preparation(a_preparation(run_id="prepare-4", prepared_at=later, price_basis="after the trials"))
    page = text_of(report(store, a_trial("one", variant="improved")))
    assert "build image 612.0 made 0.25 USD" in page
    assert "found by prepare-3" in page
    assert "found by prepare-2" not in page
    assert "after the trials" not in page


def test_it_shows_instance_types_but_no_node_names(store: ResultsStore) -> None:
    """Instance types, versions and the model's revision are shown; node names, new in every trial, are not."""
    page = text_of(report(store, a_trial("one")))
    environment = page[page.index("Environment") :]
    assert "worker instance type g6.4xlarge" in environment
    assert "microsoft/Phi-3-mini-4k-instruct at f39ac1d (hub)" in environment
    assert "head node" not in environment


def test_only_the_selected_trials_are_shown(store: ResultsStore) -> None:
    """Another run of the same store gives another report."""
    page = report(store, a_trial("mine"), a_trial("theirs", run_id="run-2", cloud="gke"), run_id="run-1")
    assert "EKS" in page
    assert "GKE" not in page


def test_every_number_links_to_its_evidence(store: ResultsStore) -> None:
    """Per trial there are phases and milestones with bounds and source, verdicts with evidence, flags, and the replay
    command.
    """
    stone = MilestoneResult(
        "head.ready", OPENED_AT + timedelta(seconds=30.5), OPENED_AT + timedelta(seconds=31.5), "pods h condition Ready"
    )
    cold = {"claim": "cold_start", "value": "yes", "evidence": ["Node n1 was created after the submission."]}
    one = a_trial(
        "one", milestones=[stone], submitted_at=OPENED_AT, verdicts=[cold], flags=["clock: node n1 is off by 3.0 s"],
        analysis_version="0.1.0+core.abc",
    )  # fmt: skip
    page = report(store, one, a_trial("bad", status=TrialStatus.FAILED, reason="Quota.", total_s=None, phases={}))
    told = text_of(page)
    assert "head.ready 30.5 31.5 1.0 pods h condition Ready" in told
    assert "head_image_pull 250.0 249.5 250.5" in told
    assert "cold_start yes Node n1 was created after the submission." in told
    assert "Flags: clock: node n1 is off by 3.0 s." in told
    assert "Computed by 0.1.0+core.abc. Compute it again: llm-provisioning replay one" in told
    # Excluded trials have a link too.
    assert '<a href="#trial-bad">bad</a>' in page
    assert 'id="trial-bad"' in page


def test_names_from_outside_are_text(store: ResultsStore) -> None:
    """Texts from a cluster or a user never become markup."""
    page = report(store, a_trial("one", status=TrialStatus.FAILED, reason="<script>alert(1)</script>"))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_store_without_trials_gives_a_page_that_says_so(store: ResultsStore) -> None:
    """An empty selection is no error and has no figures."""
    page = report(store)
    assert "There are no results for this selection." in page
    assert "<svg" not in page


def test_without_the_extra_the_error_names_it(store: ResultsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the drawing library the report is whole, but for a sweep; then the error says what to install."""
    monkeypatch.setitem(sys.modules, "altair", None)
    assert 'class="bar-picture"' in report(store, a_trial("one"))
    with pytest.raises(MissingExtraError, match=r"airflow-llm-provisioning\[report\]"):
        report(store, sweep=a_sweep())


def test_a_sweep_shows_every_number_with_its_reason(store: ResultsStore) -> None:
    """Charted or not, every number is in the tables with range, both reductions and source; unused numbers too."""
    page = text_of(report(store, a_trial("one", origin="measured"), sweep=a_sweep(rows=14)))
    assert "SIMULATED" in page
    assert "number_0_s eks.toml 2 (1 to 4) s of something assumed because of reason 0" in page
    assert "number_13_s eks.toml 2 (1 to 4) s of something sourced because of reason 13" in page
    assert "eks static number_0_s 1 to 4 -42.0 % -50.0 % -56.0 % 14.0" in page
    assert "EKS: uncertain, but used by no trial: idle_s." in page


def test_a_sweep_with_a_trial_that_never_became_ready_has_no_figure_for_it(store: ResultsStore) -> None:
    """There is no reduction for it, and the rest is still drawn."""
    sweep = a_sweep()
    sweep["rows"][0]["reduction_at_high_pct"] = None
    page = text_of(report(store, sweep=sweep))
    assert "number_0_s 1 to 4 -42.0 % -50.0 % no figure" in page
    assert "number_1_s" in page


def test_a_simulated_page_without_a_sweep_says_how_to_get_one(store: ResultsStore) -> None:
    """The page says that the assumptions were not varied, and names the command for it."""
    assert "llm-provisioning sweep EXPERIMENT" in text_of(report(store, a_trial("one")))


def test_a_table_of_contents_leads_to_every_section(store: ResultsStore) -> None:
    """Each name is there once; two families of one cloud have their own entries; an empty report has no contents."""
    arms = [*an_arm("baseline", 2), *an_arm("improved", 2, factor=0.5)]
    page = report(store, *arms, a_trial("b", cloud="gke"), a_trial("i", cloud="gke", variant="improved"))
    listed = re.search(r'<nav class="contents".*?</nav>', page, re.DOTALL)
    assert listed is not None
    links = re.findall(r'<a href="#([^"]+)">(.*?)</a>', listed.group(0))
    assert [name for name, _ in links] == re.findall(r'<section id="([^"]+)"', page)
    assert len({name for name, _ in links}) == len(links)
    titles = [unescape(title) for _, title in links]
    assert {"Not counted", "Cost and payback", "Preparation", "How to read it"} <= set(titles)
    assert [title.split()[0] for title in titles[:2]] == ["EKS", "GKE"]
    assert page.index('class="contents"') < page.index("<section")
