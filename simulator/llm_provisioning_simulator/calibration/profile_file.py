"""A calibrated profile: a file of its own with its evidence. It is laid over the shipped profiles, which stay as they
are; a cluster that uses it says so.
"""

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.profiles import Profile

ALL: Final = "all"
CLOUDS: Final = ("eks", "gke", "aks")


@dataclass(frozen=True, slots=True)
class CalibratedProfile:
    """What a calibration left: `numbers`: cloud (or `all`) -> quantity -> {value, low, high}; `evidence`: how it came
    about, as the file says.
    """

    name: str
    evidence: Mapping[str, Any]
    numbers: Mapping[str, Mapping[str, Mapping[str, float]]]

    @property
    def clouds(self) -> frozenset[str]:
        """The clouds whose clusters it changes."""
        own = {scope for scope, rows in self.numbers.items() if rows}
        return frozenset(CLOUDS) if ALL in own else frozenset(own)

    def over(self, profile: Profile) -> Profile:
        """Return a shipped profile with the calibrated numbers in it; as it is, without their label, where none is for
        its cloud. Raises ConfigurationError for a number that it does not have.
        """
        changed = dict(profile.quantities)
        scopes = [scope for scope in (ALL, profile.cloud) if self.numbers.get(scope)]
        if not scopes:
            return profile
        for scope in scopes:
            for quantity, row in self.numbers[scope].items():
                if quantity not in changed:
                    told = f"Calibrated profile {self.name!r} has {scope}.{quantity}, which the simulator's profile of"
                    raise ConfigurationError(
                        f"{told} {profile.cloud} does not know: calibrate with this version again."
                    )
                source = f"calibrated {self.name}: {self.evidence.get('answer', 'no answer stated')}"
                changed[quantity] = replace(
                    changed[quantity],
                    source=source,
                    assumed=None,
                    value=row["value"],
                    low=row["low"],
                    high=row["high"],
                )
        return replace(profile, quantities=MappingProxyType(changed), calibrated=self.name)


def calibrated_profile_text(name: str, found: Mapping[str, Any], command: str) -> str:
    """Return the file of a calibration: TOML, each number of its best whole world with its posterior range. Medians of
    single numbers would be no world that was ever run.
    """
    return "\n".join(_lines(name, found, command)) + "\n"


def _lines(name: str, found: Mapping[str, Any], command: str) -> Iterator[str]:
    met, total = found["statements_met"], found["statements_total"]
    verdict = "consistent" if found["consistent"] else "not consistent"
    yield f"# Calibrated to {found['statements']!r}. Not measured, and no part of the shipped profiles: it is laid over"
    yield "# them where it is named, and everything that comes of it is labelled with its name."
    yield "[calibration]"
    facts = {
        "name": name,
        "answer": f"{verdict}: {met} of {total} statements hold",
        "statements": found["statements"],
        "source": found["source"],
        "command": command,
        "seed": found["seed"],
        "worlds": found["worlds_looked_at"],
        "left_out": [row["statement"] for row in found["left_out"]],
    }
    yield from (f"{key} = {json.dumps(value)}" for key, value in facts.items())
    for row in found["posterior"]:
        cloud, _, quantity = row["parameter"].rpartition(".")
        low, high = row["posterior"]
        value = found["confirmed"]["best_world"][row["parameter"]]
        yield ""
        yield f"[{cloud or 'all'}.{quantity}]  # prior {row['prior'][0]:g} to {row['prior'][1]:g} {row['unit']}"
        yield f"value = {value!r}"
        yield f"low = {min(low, value)!r}"
        yield f"high = {max(high, value)!r}"


def read_calibrated_profile(path: Path) -> CalibratedProfile:
    """Read a calibrated profile. Raises ConfigurationError with the file."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The calibrated profile {path} cannot be read: {error}.") from error
    evidence = document.pop("calibration", None)
    if not isinstance(evidence, dict) or not evidence.get("name"):
        raise ConfigurationError(f"{path} is no calibrated profile: it lacks [calibration] with a name.")
    for problem in _problems(document):
        raise ConfigurationError(f"The calibrated profile {path} cannot be used: {problem}.")
    return CalibratedProfile(str(evidence["name"]), evidence, document)


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the numbers of a calibrated profile."""
    if not document:
        yield "it has no numbers"
    for scope, rows in document.items():
        if scope not in (ALL, *CLOUDS):
            yield f"[{scope}] is neither {ALL} nor one of {', '.join(CLOUDS)}"
        if not isinstance(rows, dict):
            yield f"{scope} is no table of numbers"
            continue
        for quantity, row in rows.items():
            ends = [row.get(key) if isinstance(row, dict) else None for key in ("low", "value", "high")]
            if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
                yield f"[{scope}.{quantity}] needs value, low and high, each a number"
            elif sorted(ends) != ends:  # type: ignore[type-var]
                yield f"[{scope}.{quantity}] needs low, value and high in this order of size"
