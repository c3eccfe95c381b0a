"""Every reader of outside input, tried with seeded mutations in a process of its own: a result or one sentence, within
two seconds and 300 MB.

500 mutations of each; LLM_PROVISIONING_FUZZ=full tries 10,000.
"""

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_readers import REFUSALS
from measured_process import measured
from mutations import mutated_bytes, mutated_text, mutated_value

from airflow_llm_provisioning.core.trace import decode_trace, encode_line

FULL = os.environ.get("LLM_PROVISIONING_FUZZ") == "full"
COUNT = 10_000 if FULL else 500
BATCH = 500
TESTS = Path(__file__).parents[1]
SAMPLES = [path.read_text() for path in sorted((TESTS / "core" / "manifests" / "samples").glob("*.yaml"))]
EXPERIMENTS = [
    path.read_text()
    for path in sorted((TESTS.parent / "airflow_llm_provisioning" / "example_dags" / "experiments").glob("*.yaml"))
]
RECORDING = (TESTS / "recordings" / "2026-11-29" / "llm-unsched.jsonl.gz").read_bytes()
LINES = [json.loads(json.dumps(item)) for item in decode_trace(RECORDING).lines]
RECIPE = {"base": "a/b:1", "base_digest": "sha256:" + "0" * 64, "pip": ["vllm==0.5.4", "x[y]>=1"], "env": {"A": "b c"}}
KUBERNETES = {
    "kube_config": {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "made-up"}}],
    },
    "cluster_context": "",
}
DATABASE = {"host": "/nowhere/x.db", "login": "", "password": "", "extra": {"sslmode": "require"}}


def a_trace(rng: random.Random) -> bytes:
    """Return a changed recording: its lines' values, the text of its lines, or its packed bytes."""
    some = rng.sample(LINES, 25)
    lines = [mutated_value(rng, item) if rng.random() < 0.2 else item for item in some]
    try:
        plain = b"".join(encode_line(item) for item in lines if isinstance(item, dict))
    except Exception:  # noqa: BLE001 - too deep to be written; deep lines are tried as texts too
        plain = b"".join(map(encode_line, some))
    if rng.random() < 0.4:
        plain = mutated_text(rng, plain.decode("utf-8", "replace")).encode("utf-8", "replace")
    packed = gzip.compress(plain, compresslevel=1)
    return plain if rng.random() < 0.3 else mutated_bytes(rng, packed) if rng.random() < 0.4 else packed


def a_value(value: Any) -> Callable[[random.Random], str]:
    """Return a maker of changed JSON."""
    return lambda rng: json.dumps(mutated_value(rng, value))


def a_kubernetes_connection(rng: random.Random) -> str:
    """Return a changed extra; half of them hold the kubeconfig as text, changed as a text."""
    extra = mutated_value(rng, KUBERNETES)
    if rng.random() < 0.5 and isinstance(extra, dict):
        extra["kube_config"] = mutated_text(rng, yaml.safe_dump(KUBERNETES["kube_config"]))
    return json.dumps(extra)


MAKERS: dict[str, Callable[[random.Random], Any]] = {
    "experiment": lambda rng: mutated_text(rng, rng.choice(EXPERIMENTS)),
    "manifest": lambda rng: mutated_text(rng, rng.choice(SAMPLES)),
    "trace": a_trace,
    "recipe": a_value(RECIPE),
    "kubernetes": a_kubernetes_connection,
    "database": a_value(DATABASE),
    "texts": lambda rng: json.dumps(mutated_value(rng, rng.choice(LINES))),
}


@pytest.mark.timeout(7200 if FULL else 600)
@pytest.mark.parametrize("reader", MAKERS)
def test_every_mutation_is_read_or_refused_in_a_sentence(reader: str) -> None:
    """No other exception, no traceback's text, no long time, no large memory."""
    for first in range(0, COUNT, BATCH):
        sources = [MAKERS[reader](random.Random(seed)) for seed in range(first, first + BATCH)]
        for seed, cost in enumerate(measured(f"fuzz_readers:{reader}", *sources), start=first):
            where = f"{reader} with seed {seed}: {cost}"[:3000]
            assert cost.error in ("", *REFUSALS), where
            assert cost.seconds < 2, where
            assert cost.megabytes < 300, where
            assert len(cost.told) < 20_000, where
            assert all(line.isprintable() for line in cost.told.split("\n")), where
