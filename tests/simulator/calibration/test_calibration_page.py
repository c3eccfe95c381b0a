"""docs/calibration.md says what the committed calibration found, of the profiles that are shipped today."""

import json
from pathlib import Path

from llm_provisioning_simulator.calibration.lines import calibration_lines
from llm_provisioning_simulator.calibration.profile_file import read_calibrated_profile
from llm_provisioning_simulator.profiles import load_profile

DOCS = Path(__file__).resolve().parents[3] / "docs"
FOUND = json.loads((DOCS / "calibration.json").read_text(encoding="utf-8"))


def test_the_page_prints_what_the_run_found() -> None:
    """Line by line; a new run replaces docs/calibration.json, docs/calibrated/origin.toml and this part of the page."""
    page = (DOCS / "calibration.md").read_text(encoding="utf-8")
    printed = page.partition("```text\n")[2].partition("\n```")[0]
    assert printed.splitlines() == calibration_lines(FOUND)


def test_its_priors_are_the_shipped_ranges() -> None:
    """A number whose documented range changed must be calibrated again."""
    shipped = {cloud: load_profile(cloud, "luna").quantities for cloud in ("eks", "gke", "aks")}
    for row in FOUND["posterior"]:
        cloud, _, name = row["parameter"].rpartition(".")
        quantity = shipped[cloud or "eks"][name]
        assert row["prior"] == [quantity.low, quantity.high], row["parameter"]


def test_the_calibrated_profile_is_of_this_run() -> None:
    """Its evidence is the run's, and every number fits a shipped one."""
    profile = read_calibrated_profile(DOCS / "calibrated" / "origin.toml")
    assert profile.evidence["worlds"] == FOUND["worlds_looked_at"]
    assert profile.evidence["answer"].endswith(
        f"{FOUND['statements_met']} of {FOUND['statements_total']} statements hold"
    )
    for cloud in ("eks", "gke", "aks"):
        laid = profile.over(load_profile(cloud, "luna"))
        assert laid.calibrated == "origin"
