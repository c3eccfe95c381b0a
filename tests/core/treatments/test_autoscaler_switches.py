"""What a node autoscaler's Deployment says of its switches: gates of Karpenter, flags of the cluster autoscaler."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments import treatment
from airflow_llm_provisioning.core.treatments.autoscaler_switches import flags_off

BUFFER = treatment("capacity_buffer_object")
CONTROLLER = "--capacity-buffer-controller-enabled"
INJECTION = "--capacity-buffer-pod-injection-enabled"


def a_cluster_autoscaler(*flags: str, image: str = "registry.k8s.io/autoscaling/cluster-autoscaler:v1.35.0") -> Any:
    container = {"image": image, "command": ["./cluster-autoscaler", "--cloud-provider=aws", *flags]}
    metadata = {"namespace": "kube-system", "name": "aws-ca"}
    return {"metadata": metadata, "spec": {"template": {"spec": {"containers": [container]}}}}


def problems(autoscaler: str, *deployments: Any) -> tuple[str, ...]:
    target = Target("t", "c", "k", NodeProfile("t", "eks", autoscaler, "1.34"), ("buffered",))
    return BUFFER.on_cluster_of(target, {"capacitybuffers": [], "deployments": deployments})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        ((), (CONTROLLER, INJECTION)),
        ((CONTROLLER,), (INJECTION,)),
        ((f"{CONTROLLER}=true", f"{INJECTION}=false"), (INJECTION,)),
        ((f"{CONTROLLER}=true", INJECTION, f"{CONTROLLER}=0"), (CONTROLLER,)),
        ((CONTROLLER[1:], f"{INJECTION[1:]}=T"), ()),
        ((f"{CONTROLLER}=true", f"{INJECTION}=true"), ()),
        ((f"{CONTROLLER}-extra=true", INJECTION), (CONTROLLER,)),
    ],
)
def test_a_cluster_autoscaler_without_the_flags_is_refused(flags: tuple[str, ...], missing: tuple[str, ...]) -> None:
    """Both are off by default: the object is accepted, and no node comes of it. The last mention of a flag counts."""
    told = problems("native", a_cluster_autoscaler(*flags))
    assert bool(told) is bool(missing)
    for sentence in told:
        assert "kube-system/aws-ca" in sentence
        assert [flag for flag in (CONTROLLER, INJECTION) if f"{flag}=true" in sentence] == list(missing)


def test_other_autoscalers_and_other_deployments_say_nothing_of_it() -> None:
    """A managed one is not seen, and a leftover one beside Karpenter makes no nodes of the target."""
    other = a_cluster_autoscaler(image="registry.example/proxy:1")
    other["spec"]["template"]["spec"]["containers"][0]["command"] = ["proxy", "--cluster-autoscaler"]
    assert problems("native", other, {}, {"spec": None}) == ()
    assert problems("karpenter", a_cluster_autoscaler()) == ()
    mirrored = a_cluster_autoscaler(image="123.dkr.ecr.us-west-2.amazonaws.com/cluster-autoscaler@sha256:1")
    mirrored["spec"]["template"]["spec"]["containers"][0]["command"] = ["/entry", INJECTION]
    assert flags_off([mirrored], (CONTROLLER[2:],)) == ("kube-system/aws-ca", (CONTROLLER[2:],))
