"""The texts of the report. Line ends have no meaning; an empty line begins a paragraph."""

from typing import Final

SIMULATED: Final = """\
Its figures follow from the numbers in the simulator's profiles; some have a source, some are assumed. They show what
the experiment measures and how; they say nothing about any cloud."""

NO_SWEEP: Final = """\
This report does not show how the reductions depend on the assumed ranges. Use `llm-provisioning sweep EXPERIMENT --out
sweep.json`, then `llm-provisioning report --sweep sweep.json`."""

COMPARED: Final = """\
Improved against baseline, by cloud and set-up. Each figure compares trials of one stratum: the same origin, cloud,
region, node autoscaler, node profile, set-up, workload and model. 'Published' is what the origin of this experiment
(Elotl, January 2025) printed for its own clusters: it stands here for orientation, and nothing was fitted to it. In the
charts a bar is one variant, from the submission to the ready endpoint. Trials of a variant that passed other phases are
a bar of their own, so that the phases of a bar sum to its mean total. Head and worker pass the same kinds of phases, so
a colour may come twice."""

PREPARATION: Final = """\
Steps that are done once before the improved variant can run. They are not part of any time above. Seconds are in the
clocks of the clouds."""

COST: Final = """\
A machine counts from its request until it was seen to be gone, at dated list prices or at those of the experiment: an
estimate, no bill. A deployment's cost is the median over the comparable trials; 'saved' is against the baseline of the
same stratum. Preparation and what is paid each day without any deployment are of the target. 'Pays from' is the number
of deployments a day from which a variant costs less than its baseline."""

ESTIMATE: Final = "An estimate from prices: a machine counts from its request until it was seen to be gone."

SWEEP: Final = """\
Every uncertain number of the simulator's profiles was set to both ends of its range, one at a time, without noise. A
bar shows the resulting reduction: blue at the lower end, red at the upper end. The line marks the reduction at the
profile's values. Several numbers together can change it more than one of them."""

EVIDENCE: Final = """\
Each milestone with its earliest and latest possible time and its source; each verdict with its evidence. The recording
is in the results store: the command computes everything again from it and reports whether the result is the same."""

READING: Final = """\
Time runs from the submission of the RayService to Kubernetes until the serve Service has a ready endpoint. This is the
finish line of the origin. The first valid completion of the model is reported separately.

Several clocks write the stamps of a deployment: the API server, the controllers, each node's kubelet, Ray and Serve,
most of them in whole seconds. So every milestone lies between two bounds. '+-' is half the width of the bounds of the
total, the median over the trials; smaller differences cannot be measured.

The phases of a trial sum to its total exactly: they lie on the path that decided it, through head and worker. Parallel
work that delayed nothing does not appear. Two phases are joined (a+b) if the milestone between them is missing.

Only comparable trials count: the endpoint became ready, the start was cold (new nodes, nothing pulled), and the trace
proves that the variant's treatments took effect. The other trials are listed with their reasons.

Below a table stand the observed facts that are not equal although the stratum is (instance types, zones, driver,
KubeRay, Ray, Kubernetes): those that differ between a variant and its baseline, and those that are mixed inside one
variant. Such trials are pooled all the same; whether the fact explains a figure is for the reader to judge. Zones vary
from night to night. A treatment may change a fact on purpose, such as the node image. A trial with another digest under
the same image name is not pooled.

Time is a median. 'Saved' is the median of all pairwise ratios of baseline and variant (Hodges-Lehmann), and its
interval comes from the exact distribution of Mann and Whitney's U. With fewer than three trials per variant there is
no interval; with fewer than five it is a 90 % interval."""
