"""What the report says in words. Line ends are of no consequence; an empty line begins a paragraph."""

from typing import Final

SIMULATED: Final = """\
Its figures follow from the numbers in the simulator's profiles, some read somewhere, some assumed. They show what the
experiment measures and how; they say nothing about any cloud."""

NO_SWEEP: Final = """\
How the reductions move over the assumed ranges is not in this report: `llm-provisioning sweep EXPERIMENT --out
sweep.json`, then `llm-provisioning report --sweep sweep.json`."""

COMPARED: Final = """\
Improved against baseline, by cloud and set-up. Each figure compares trials of one stratum: the same origin, cloud,
region, node autoscaler, node profile, set-up, workload and model. 'Published' is what the origin of this experiment
(Elotl, January 2025) printed for its own clusters: it stands here for orientation, and nothing was fitted to it. In the
charts a bar is one variant, from the submission to the ready endpoint. Trials of a variant that passed other phases are
a bar of their own, so that the phases of a bar sum to its mean total. Head and worker pass the same kinds of phases, so
a colour may come twice."""

PREPARATION: Final = """\
What must be done once before the improved variant can run. It is not part of any time above. Seconds are in the clouds'
own clocks."""

SWEEP: Final = """\
Every uncertain number of the simulator's profiles was moved to both ends of its range, one at a time, without noise. A
bar shows where the reduction goes: blue at the lower end, red at the upper. The line marks the reduction at the
profile's values. Ranges that combine can move it further than any one of them."""

EVIDENCE: Final = """\
Each instant with the earliest and the latest time it can have had, and where it was read; each verdict with the
sentences it rests on. The recording itself is in the results store: the command computes everything again from it and
says whether it is the same."""

READING: Final = """\
Time runs from the submission of the RayService to Kubernetes until the serve Service has a ready endpoint. That is the
origin's finish line. The first valid completion of the model is recorded beside it.

Several clocks stamp a deployment: the API server, the controllers, each node's kubelet, Ray and Serve, most of them in
whole seconds. So every instant is known between two bounds. '+-' is half the width of the bounds of the total, the
median over the trials; what is smaller than it is not told apart.

The phases of a trial sum to its total exactly: they lie on the path that decided it, over head and worker. Work that
ran beside that path and delayed nothing does not appear. Two phases are joined (a+b) where the instant between them was
not seen.

Only comparable trials count: the endpoint became ready, the start was cold (new nodes, nothing pulled), and the trace
shows that the variant's treatments really took effect. The others are listed with their reasons.

Below a table stand the observed facts that are not equal although the stratum is (instance types, zones, driver,
KubeRay, Ray, Kubernetes): those that differ between a variant and its baseline, and those that are mixed inside one
variant. Such trials are pooled all the same; whether the fact explains a figure is for the reader to judge. Zones vary
from night to night. A treatment may change a fact on purpose, such as the node image. A trial with another digest under
the same image name is not pooled.

Time is a median. 'Saved' is the median of all pairwise ratios of baseline and variant (Hodges-Lehmann), and its
interval comes from the exact distribution of Mann and Whitney's U. With fewer than three trials a side there is no
interval, with fewer than five it is one of 90 %."""
