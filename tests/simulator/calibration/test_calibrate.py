"""The command: a user's own statements in, an answer, a profile of its own out; the shipped profiles untouched."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.calibration.lines import calibration_lines
from llm_provisioning_simulator.calibration.profile_file import read_calibrated_profile
from llm_provisioning_simulator.calibration.statements import Cell
from llm_provisioning_simulator.calibration.trials import Cells
from llm_provisioning_simulator.commands import add_calibrate
from llm_provisioning_simulator.experiment import simulated_experiment
from llm_provisioning_simulator.profiles import load_profile

EXPERIMENT = (
    Path(__file__).resolve().parents[3] / "airflow_llm_provisioning" / "example_dags" / "experiments" / "simulated.yaml"
)
# The baseline takes about 852 s at the profiles' values, and no documented world lets it take 60.
OWN = """
name: ours
statements:
  - {cloud: eks, setup: static, variant: baseline, total_s: [700, 1000], within: 50}
  - {cloud: eks, setup: static, variant: baseline, total_s: 60, within: 10}
"""


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_calibrate(parser.add_subparsers())
    parsed = parser.parse_args(["calibrate", *words])
    return int(parsed.command(parsed))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("calibration")
    (folder / "own.yaml").write_text(OWN, encoding="utf-8")
    told, profile = folder / "found.json", folder / "ours.toml"
    paths = ("--statements", str(folder / "own.yaml"), "--out", str(told), "--profile", str(profile))
    assert run(str(EXPERIMENT), "--short", *paths) == 0
    return json.loads(told.read_text(encoding="utf-8")), profile


def test_what_holds_is_kept_and_what_cannot_is_named_with_its_distance(calibrated: tuple[dict[str, Any], Path]) -> None:
    """Not consistent, and by how much: the total that no world has is left out, the other one holds."""
    found, _ = calibrated
    assert (found["consistent"], found["statements_met"], found["statements_total"]) == (False, 1, 2)
    assert [row["reached"] for row in found["alone"]] == [True, False]
    (missed,) = found["left_out"]
    assert missed["missed_by"] > 100
    text = "\n".join(calibration_lines(found))
    assert text.startswith("SIMULATED.")
    assert "ANSWER: not consistent" in text
    assert "error against trials left out of the fit" in text


def test_the_profile_is_a_file_of_its_own_with_its_evidence(calibrated: tuple[dict[str, Any], Path]) -> None:
    """It is laid over the shipped profile, names itself as the source, and changes only what was calibrated."""
    found, path = calibrated
    calibrated_profile = read_calibrated_profile(path)
    shipped = load_profile("eks", "luna")
    laid = calibrated_profile.over(shipped)
    assert calibrated_profile.evidence["left_out"] == [row["statement"] for row in found["left_out"]]
    changed = {name for name, item in laid.quantities.items() if item != shipped.quantities[name]}
    assert changed == {row["parameter"].rpartition(".")[2] for row in found["posterior"]}
    assert all("calibrated ours" in str(laid.quantities[name].source) for name in changed)
    assert load_profile("eks", "luna") == shipped


def test_a_posterior_stays_within_the_documented_range(calibrated: tuple[dict[str, Any], Path]) -> None:
    """The profile's ranges are the prior: nothing is tuned beyond them."""
    for row in calibrated[0]["posterior"]:
        assert row["prior"][0] * 0.999 <= row["posterior"][0] <= row["posterior"][1] <= row["prior"][1] * 1.001


def test_a_file_that_is_no_calibrated_profile_is_refused(tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "x.toml"
    path.write_text("[a]\nvalue = 1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"x\.toml is no calibrated profile"):
        read_calibrated_profile(path)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (Cell("moon", "static", "baseline"), "no target on 'moon'"),
        (Cell("eks", "elastic", "baseline"), "no set-up"),
        (Cell("eks", "static", "magic"), "define 'magic'"),
    ],
)
def test_a_cell_that_does_not_exist_is_refused(cell: Cell, told: str) -> None:
    """Before anything is run."""
    with pytest.raises(ConfigurationError, match=told):
        Cells(simulated_experiment(EXPERIMENT), {}).trial(cell)


def test_the_profiles_numbers_are_one_world_that_was_run(calibrated: tuple[dict[str, Any], Path]) -> None:
    """Its values are those of the best whole world, together."""
    found, path = calibrated
    profile = read_calibrated_profile(path)
    values = {
        (f"{scope}." if scope != "all" else "") + name: row["value"]
        for scope, rows in profile.numbers.items()
        for name, row in rows.items()
    }
    assert values == pytest.approx(found["confirmed"]["best_world"])
