"""One generated deployment: its true instants, its versions, and the lines of its recorder."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from proof.generated.cluster import Cluster
from proof.generated.instants import draw_instants
from proof.generated.names import BASE, NAME, NAMESPACE, Json
from proof.generated.ray import Ray
from proof.generated.scenario import Distortion, Scenario, plain_scenario
from proof.generated.source_clocks import SourceClocks, written
from proof.generated.store import Store
from proof.generated.wire import Wire


@dataclass
class Deployment:
    """The recorded lines, and the generator's knowledge: the true instants in the recorder's clock, and the skews."""

    lines: list[Json]
    truth: dict[str, datetime]
    skews: dict[str, float]
    scenario: Scenario
    distortion: Distortion

    @property
    def dynamic(self) -> bool:
        """Whether workers start from zero."""
        return self.scenario.dynamic


def generate(seed: int, distortion: Distortion | None = None, scenario: Scenario | None = None) -> Deployment:
    """Generate a deployment; the same arguments give the same one. Without `scenario` it resembles the recordings."""
    rng = random.Random(seed)
    distortion = distortion or Distortion()
    scenario = scenario or plain_scenario(rng)
    start = BASE + timedelta(seconds=rng.random() * 3600)
    truth = {name: start + timedelta(seconds=after) for name, after in draw_instants(rng, scenario).items()}
    clocks = SourceClocks(rng, distortion.skew_s)
    store = Store(rng, clocks)
    Cluster(store, scenario, truth).write_all()
    ray = Ray(clocks, scenario, truth)
    attached = -1.0 if scenario.attached_s is None else scenario.attached_s
    wire = Wire(rng, distortion, start + timedelta(seconds=attached), ray.ends_at)
    lines = [*wire.watched(store.writes()), *wire.polled(ray), *wire.read(ray)]
    lines += wire.doubled(lines)
    lines += [_trace_line("HEADER", at, _header()) for at in wire.headers()]
    lines += [_trace_line("MARK", at, mark) for at, mark in wire.marks]
    if scenario.marks:
        replied = timedelta(seconds=rng.uniform(0.003, 0.2))
        lines.append(_trace_line("MARK", start - timedelta(seconds=rng.uniform(0.003, 0.5)), {"mark": "apply_started"}))
        lines.append(_trace_line("MARK", start + replied, {"mark": "apply_replied"}))
    lines.sort(key=lambda line: str(line["received_at"]))
    return Deployment(lines, truth, clocks.skews, scenario, distortion)


def _header() -> Json:
    subject = {"namespace": NAMESPACE, "name": NAME, "uid": "rs"}
    return {"format": 1, "origin": "simulated", "rayservice": subject, "trial": {}, "cluster": {}, "clock": {}}


def _trace_line(kind: str, at: datetime, obj: Json) -> Json:
    return {"received_at": written(at), "type": kind, "resource": "trace", "object": obj}
