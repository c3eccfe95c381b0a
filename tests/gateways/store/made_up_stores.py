"""Results of many nights, made up from a seed: every kind of trial that a table must count, pool or set aside."""

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.core.result import PhaseResult, TrialResult, TrialStatus

PATHS = (
    ("node_provisioning", "image_pull", "engine_start"),
    ("node_provisioning", "image_pull+engine_start"),
    ("node_provisioning", "replacement", "image_pull", "engine_start"),
)
_ENDS: tuple[dict[str, Any], ...] = (
    *({},) * 12,
    {"status": TrialStatus.FAILED, "total_s": None, "reason": "quota"},
    {"status": TrialStatus.TIMED_OUT, "total_s": None},
    {"start": "warm"},
    {"applied": "unknown"},
    {"flags": ("replaced: worker pod a by b",)},
)


def made_up_trials(seed: int, *, nights: int = 12) -> list[TrialResult]:
    """Two clouds, set-ups and variants, three trials a night; digests, zones and revisions that move; two DAGs whose
    runs have the same ids; a workload under two names; arms without a baseline and without a trial that counts.
    """
    return list(_trials(random.Random(seed), nights))


def _trials(rng: random.Random, nights: int) -> Iterator[TrialResult]:
    for night in range(nights):
        for dag in ("nightly", "weekly") if night % 4 == 0 else ("nightly",):
            for number, cloud in enumerate(("eks", "gke")):
                for setup in ("static", "dynamic"):
                    for variant in ("baseline", "improved", "broken"):
                        yield from _cell(rng, night, dag, number, {"cloud": cloud, "setup": setup, "variant": variant})


def _cell(rng: random.Random, night: int, dag: str, number: int, names: dict[str, Any]) -> Iterator[TrialResult]:
    if names["variant"] == "baseline" and names["setup"] == "dynamic" and names["cloud"] == "gke":
        return
    for replicate in range(rng.choice((0, 1, 3, 3))):
        path = rng.choice(PATHS)
        phases = tuple(PhaseResult(name, s := rng.uniform(20, 200), s - 1, s + 1) for name in path)
        total_s = sum(phase.duration_s for phase in phases)
        environment = {
            "worker": {
                "image": "an/image",
                "image_digest": rng.choice(("sha256:a", "sha256:b", None)),
                "zone": rng.choice("ab"),
                "node": f"n{rng.random()}",
            },
            "cluster": {"gitVersion": "v1.34.1"},
            "kuberay": "v1.5.0" if night < 8 else "v1.6.0",
        }
        values: dict[str, Any] = {
            "total_s": total_s,
            "total_low_s": total_s - 1,
            "total_high_s": rng.choice((total_s + 2, None)),
            "completion_s": rng.choice((total_s + 3, None)),
            "phases": phases if rng.random() < 0.9 else (),
            "environment": environment if rng.random() < 0.9 else {},
            "model_revision": "f39ac1d" if night < 6 else "0a67737",
            "workload": rng.choice(("phi3-2025", "phi3-2025", "phi3-mine")),
            "opened_at": OPENED_AT + timedelta(days=night, minutes=rng.randrange(3) * 20, seconds=rng.randrange(3)),
        }
        if names["variant"] == "broken":
            values |= {"status": TrialStatus.FAILED, "total_s": None, "phases": ()}
        name = f"{dag}-{night}-{names['cloud']}-{names['setup']}-{names['variant']}-{replicate}"
        yield a_result(
            name,
            dag_id=dag,
            experiment=dag,
            run_id=f"scheduled__{night:02d}",
            cluster=f"{names['cloud']}-cluster",
            number=10 * number + replicate,
            replicate=replicate,
            treatments=() if names["variant"] == "baseline" else rng.choice((("x", "y"), ("y", "x"))),
            **names,
            **values | rng.choice(_ENDS),
        )
