"""Calibrations that cannot say anything: each ends with a sentence before it computes, none with a traceback."""

import json
from pathlib import Path

import pytest

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.calibration.findings import SHORT, prepare_calibration
from llm_provisioning_simulator.calibration.profile_file import CalibratedProfile, read_calibrated_profile
from llm_provisioning_simulator.calibration.statements import origin_statements, read_statements
from llm_provisioning_simulator.calibration.trials import Cells, KeptTrials
from llm_provisioning_simulator.experiment import simulated_experiment
from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.server import serve

EXPERIMENT = (
    Path(__file__).resolve().parents[3] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
)
ONE = "statements: [{cloud: eks, setup: static, variant: %s, total_s: 300, within: 20}]\nvariants: {own: [%s]}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ONE % ("own", "fast_downlaod"), "Treatment 'fast_downlaod' is unknown"),
        (ONE % ("own", "gke_image_streaming"), "exists on gke, not on 'eks'"),
        (ONE % ("own", "soci_parallel_pull, bottlerocket_snapshot"), "exclude each other"),
        (ONE % ("fats", "fast_download"), "neither the experiment nor the statements define 'fats'"),
        ((ONE % ("own", "fast_download")).replace("eks", "oci"), "has no target on 'oci'"),
        ((ONE % ("own", "fast_download")).replace("static", "warm"), "'warm' is no set-up"),
    ],
)
def test_statements_about_what_cannot_be_run_end_with_a_sentence(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and no trial was run."""
    own = tmp_path / "own.yaml"
    own.write_text(text)
    assert main(["calibrate", str(EXPERIMENT), "--statements", str(own), "--short"]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--out", "--trials", "--profile"])
def test_a_file_that_cannot_be_written_is_told_first(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not after minutes."""
    assert main(["calibrate", str(EXPERIMENT), option, str(tmp_path / "none" / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("kept", ["", "[]", "{}", json.dumps({"fingerprint": "x", "trials": 3})])
def test_a_file_of_something_else_is_not_written_over(kept: str, tmp_path: Path) -> None:
    """`--trials` names a file of kept trials, or none that exists."""
    path = tmp_path / "kept.json"
    path.write_text(kept)
    with pytest.raises(ConfigurationError, match="is no file of kept trials"):
        KeptTrials(path, "x")
    assert path.read_text() == kept


def test_a_cell_that_never_becomes_ready_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fit is made of nothing."""
    monkeypatch.setattr(KeptTrials, "run", lambda _self, _cells, asked, _told: [None] * len(asked))
    statements = read_statements(ONE % ("baseline", "fast_download"), "own.yaml")
    experiment = simulated_experiment(EXPERIMENT)
    with pytest.raises(ConfigurationError, match="eks/static/baseline: 0 of 8 simulated trials became ready"):
        prepare_calibration(statements, experiment, SHORT, 1, KeptTrials(), lambda _: None)


def test_every_cell_of_the_origin_is_possible() -> None:
    """The check of combinations refuses none that is published."""
    statements = origin_statements()
    cells = Cells(simulated_experiment(EXPERIMENT), statements.variants)
    assert [cells.trial(cell).variant for cell in statements.cells] == [cell.variant for cell in statements.cells]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[calibration]\nname = 'x'", "it has no numbers"),
        ("[calibration]\nname = 'x'\n[ekss.reaction_s]\nvalue = 1\nlow = 1\nhigh = 1", "neither all nor one of eks"),
        ("eks = 3\n[calibration]\nname = 'x'", "eks is no table"),
        ("[calibration]\nname = 'x'\n[all]\nreaction_s = 3", r"\[all.reaction_s\] needs value, low and high"),
        ("[calibration]\nname = 'x'\n[all.reaction_s]\nvalue = 1\nlow = nan\nhigh = 2", "each a number"),
        ("[calibration]\nname = 'x'\n[all.reaction_s]\nvalue = 3\nlow = 1\nhigh = 2", "in this order of size"),
    ],
)
def test_a_calibrated_profile_that_is_broken_is_refused(text: str, told: str, tmp_path: Path) -> None:
    """With its file, before a cluster runs on it."""
    path = tmp_path / "ours.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=told) as raised:
        read_calibrated_profile(path)
    assert str(path) in str(raised.value)


def test_a_profile_of_another_cloud_changes_nothing_and_labels_nothing(tmp_path: Path) -> None:
    """Where no cluster would use it, the simulator does not start; a number that is unknown is named."""
    numbers = {"eks": {"reaction_s": {"value": 7.0, "low": 6.0, "high": 8.0}}}
    ours = CalibratedProfile("ours", {}, numbers)
    shipped = load_profile("gke", "native")
    assert ours.over(shipped) is shipped
    assert ours.over(load_profile("eks", "luna")).calibrated == "ours"
    old = CalibratedProfile("old", {}, {"all": {"gone_s": numbers["eks"]["reaction_s"]}})
    with pytest.raises(ConfigurationError, match=r"'old' has all\.gone_s, .* gke does not know"):
        old.over(shipped)
    path = tmp_path / "ours.toml"
    path.write_text("[calibration]\nname = 'ours'\n[eks.reaction_s]\nvalue = 7.0\nlow = 6.0\nhigh = 8.0\n")
    with pytest.raises(ConfigurationError, match="is for eks, and the clusters are of gke: none would use it"):
        serve(EXPERIMENT, clouds=["gke"], speed=25.0, seed=1, calibrated_file=path)
