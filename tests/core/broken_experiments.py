"""Experiment files with a mistake in their structure, and what the refusal must say (`.*` stands for anything)."""

from typing import Any, Final

from experiment_data import experiment_data, target_data


def with_nodes(**fields: Any) -> dict[str, Any]:
    """An experiment with these changes to its nodes."""
    return experiment_data(target_data(nodes=fields))


UNKNOWN_KEYS: Final[list[tuple[dict[str, Any], str]]] = [
    (experiment_data(replicate=3), "`replicate` is no key of an experiment file: did you mean 'replicates'?"),
    (
        experiment_data(target_data() | {"node": {}}),
        "`targets.eks-plain.node` is no key of an experiment file: did you mean 'nodes'?",
    ),
    (with_nodes(gpu_sku=["L4"]), "`targets.eks-plain.nodes.gpu_sku` is no key .*: did you mean 'gpu_skus'?"),
    (experiment_data(workloads={"w": {"profil": "x"}}), "`workloads.w.profil` is no key .* did you mean 'profile'?"),
    (
        experiment_data(workloads={"w": {"profile": "phi3-2025", "model": {"id": "a/b", "revison": "x"}}}),
        "`workloads.w.model.revison` is no key .*: did you mean 'revision'?",
    ),
    (
        experiment_data(workloads={"w": {"profile": "phi3-2025", "completion": {"bodi": {}}}}),
        "`workloads.w.completion.bodi` is no key .*: did you mean 'body'?",
    ),
    (
        experiment_data(workloads={"w": {"profile": "phi3-2025", "fast_download": {"pipp": []}}}),
        "`workloads.w.fast_download.pipp` is no key .*: did you mean 'pip'?",
    ),
]
REPLACED: Final[list[tuple[dict[str, Any], str]]] = [
    (experiment_data(profile="phi3-2025"), "`profile` is a key of version 0.1: write `workloads: {NAME: {profile: "),
    (with_nodes(snapshot=True), "`targets.eks-plain.nodes.snapshot` is a key of version 0.1: leave it out: the "),
    (with_nodes(streaming=True), "`targets.eks-plain.nodes.streaming` is a key of version 0.1: leave it out: the "),
]
WRONG_TYPES: Final[list[tuple[dict[str, Any], str]]] = [
    (
        with_nodes(kubernetes_minor=1.34),
        "`targets.eks-plain.nodes.kubernetes_minor` must be text, in quotes; found 1.34",
    ),
    (experiment_data(grace_s={"crash": 5}), "`grace_s`: There is no kind of blocker 'crash' .*crash_loop"),
    (experiment_data(grace_s={"crash_loop": -5}), "`grace_s.crash_loop` must be at least 0.*; found -5"),
    (experiment_data(grace_s={"crash_loop": "5"}), "`grace_s.crash_loop` must be .*; found '5'"),
    (experiment_data(evidence_s=-1), "`evidence_s` must be at least 0.*; found -1"),
    (experiment_data(evidence_s="5"), "`evidence_s` must be .*; found '5'"),
    (with_nodes(kubernetes_minor="34"), "kubernetes_minor` must be a minor version .* as \"1.34\"; found '34'"),
    (with_nodes(gpu_skus="L4"), "`targets.eks-plain.nodes.gpu_skus` must be a list; found 'L4'"),
    (with_nodes(data_volume_gib="80"), "data_volume_gib` must be a whole number; found '80'"),
    (with_nodes(data_volume_gib=0), "data_volume_gib` must be at least 1; found 0"),
    (with_nodes(cloud=None), "`targets.eks-plain.nodes.cloud` must be text; found nothing"),
    (
        experiment_data(target_data(variants="baseline")),
        "`targets.eks-plain.variants` must be a list; found 'baseline'",
    ),
    (experiment_data(target_data(variants=[])), "`targets.eks-plain.variants` is empty; at least 1 is needed"),
    (experiment_data(target_data(conn_id="")), "`targets.eks-plain.conn_id` must be text that is not empty; found ''"),
    (experiment_data(target_data(conn_id=None)), "`targets.eks-plain.conn_id` must be text; found nothing"),
    (experiment_data(target_data(conn_id=" ")), "conn_id` must be text without blanks around it.*; found ' '"),
    (experiment_data(target_data(conn_id="{{ var.value.c }}")), "conn_id` must be text .* without braces"),
    (experiment_data(target_data(region="")), "region` must be text that is not empty; found ''"),
    (experiment_data(target_data(registry="x.example ")), "registry` must be text without blanks"),
    (with_nodes(gpu_skus=["L4", ""]), "gpu_skus.1` must be text that is not empty; found ''"),
    (with_nodes(snapshot_id=" snap-1"), "snapshot_id` must be text without blanks around it"),
    (with_nodes(zone="us west"), "zone` must be a zone: at most 63 lower-case letters"),
    (experiment_data(evidence_s="5 s"), "`evidence_s` must be a number; found '5 s'"),
    (experiment_data(target_data(namespace="A")), "namespace` must be a Kubernetes namespace.*; found 'A'"),
    (experiment_data(target_data() | {"name": 5}), "`targets.0.name` must be text, in quotes; found 5"),
    (experiment_data(target_data() | {"name": "a b"}), "`targets.0.name` must be at most 63 letters.*; found 'a b'"),
    (experiment_data(target_data() | {"nodes": []}), "`targets.eks-plain.nodes` must be a mapping; found a list of 0"),
    (experiment_data("a target"), "`targets.0` must be a mapping; found 'a target'"),
    (
        experiment_data(replicates=20, stop_early={"min_replicates": 4, "half_width_pct": 5}),
        "`stop_early.min_replicates` must be at least 5; found 4",
    ),
    (experiment_data(replicates=20, stop_early={}), "`stop_early.half_width_pct` is missing"),
    (
        experiment_data(replicates=20, stop_early={"half_width_pct": 0}),
        "`stop_early.half_width_pct` must be greater than 0; found 0",
    ),
    (experiment_data(replicates="two"), "`replicates` must be a whole number; found 'two'"),
    (experiment_data(replicates=True), "`replicates` must be a whole number; found True"),
    (experiment_data(replicates=0), "`replicates` must be at least 1; found 0"),
    (experiment_data(replicates=1001), "`replicates` must be at most 1000; found 1001"),
    (experiment_data(setups="static"), "`setups` must be a list; found 'static'"),
    (experiment_data(setups=[]), "`setups` is empty; at least 1 is needed"),
    (experiment_data(workloads=[]), "`workloads` must be a mapping; found a list of 0"),
    (experiment_data(workloads={}), "`workloads` is empty; at least 1 is needed"),
    (experiment_data(workloads={"a b": {}}), "`workloads` has the name 'a b'; allowed are at most 63 letters"),
    (experiment_data(variants={"v": "x"}), "`variants.v` must be a list; found 'x'"),
    ({"name": "x", "targets": []}, "`targets` is empty; at least 1 is needed"),
    ({"name": "x", "targets": {"name": "x"}}, "`targets` must be a list; found a mapping"),
    ({"targets": [target_data()]}, "`name` is missing (At most 40 lower-case letters"),
    ({"name": "x"}, "`targets` is missing"),
    (experiment_data() | {"name": "Ein Name"}, "`name` must be at most 40 lower-case letters.*; found 'Ein Name'"),
    (experiment_data() | {"name": "x" * 41}, "`name` must be at most 40 lower-case letters"),
    (experiment_data() | {"name": None}, "`name` must be text; found nothing"),
]
