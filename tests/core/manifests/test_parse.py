"""One RayService comes out of YAML, JSON or a dict as an API server would get it, or one sentence says why not."""

import datetime as dt
import json
from enum import StrEnum
from typing import Any

import pytest
from sample_manifests import sample, text_of

from airflow_llm_provisioning.core.manifests import ParsedManifest, check_ray_service, parse_documents
from airflow_llm_provisioning.exceptions import ManifestError

HEAD = "kind: RayService\napiVersion: ray.io/v1\nmetadata: {name: a}\n"
SECRET = "kind: Secret\napiVersion: v1\nmetadata: {name: s}\n"


def parse(source: Any) -> ParsedManifest:
    return parse_documents(source, where="file.yaml")


def spec(text: str) -> Any:
    return parse(f"{HEAD}spec: {text}\n").ray_service["spec"]


def test_text_bytes_json_and_dict_read_the_same() -> None:
    """With a byte order mark, tabs and leading lines as editors leave them."""
    manifest = sample("skyray-baseline")
    forms = [
        text_of("skyray-baseline").encode(),
        b"\xef\xbb\xbf" + text_of("skyray-baseline").encode(),
        json.dumps(manifest),
        "\n" + json.dumps(manifest, indent="\t"),
        "---\n" + json.dumps(manifest) + "\n---\n",
        manifest,
    ]
    for form in forms:
        assert parse(form).ray_service == manifest
    assert parse(manifest).ray_service is not manifest
    assert parse(manifest).ray_service["spec"] is not manifest["spec"]


def test_json_keeps_characters_that_yaml_cannot_escape() -> None:
    """JSON writes a character beyond the first plane as two halves."""
    text = '{"kind": "RayService", "spec": {"serveConfigV2": "\\ud83d\\ude00"}}'
    assert parse(text).ray_service["spec"]["serveConfigV2"] == "😀"


def test_the_one_rayservice_is_taken_wherever_it_stands() -> None:
    """Among documents, in a List, in a List among documents; the others are named in order."""
    inside = "kind: List\nitems:\n- {kind: Secret, metadata: {name: b}}\n- {kind: RayService, metadata: {name: a}}\n"
    assert parse(f"{SECRET}---\n{HEAD}---\n---\n").others == ("Secret/s",)
    assert parse(inside).others == ("Secret/b",)
    assert parse(f"{inside}---\n{SECRET}").others == ("Secret/b", "Secret/s")
    assert parse(json.dumps({"kind": "List", "items": [{"kind": "RayService"}]})).ray_service == {"kind": "RayService"}
    assert parse({"kind": "RayServiceList", "items": [{"kind": "RayService"}]}).ray_service == {"kind": "RayService"}
    assert parse(f"{HEAD}---\nkind: [x]\nmetadata: 5\n").others == ("?/?",)


def test_what_is_left_to_the_user_need_not_be_valid() -> None:
    """Dates and number keys of another object are not our business."""
    assert parse(f"{HEAD}---\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{1: 2024-01-01}}\n").others == (
        "ConfigMap/c",
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (HEAD + "---\n" + HEAD, "holds 2 documents and 2 of them are a RayService; allowed is 1. Found: RayService/a"),
        (SECRET + "---\n" + SECRET, "and 0 of them are a RayService; allowed is 1. Found: Secret/s, Secret/s"),
        (SECRET, "must be one RayService: it is a v1 Secret, not a ray.io RayService"),
        ({"kind": "Secret", "apiVersion": "v1"}, "it is a v1 Secret"),
        ("\n---\n# nothing\n", "the text holds 0 documents"),
        ("service.yml", "found the text 'service.yml'. The path of a file must end in .yaml"),
        ("5", "found the text '5'"),
        (HEAD + "---\n- a", "document 2: found a list; it must be one RayService"),
        ("kind: List\nitems: [a]", r"items\[0\]: found the value 'a'; allowed are objects"),
        (None, "found nothing, allowed is a mapping or text"),
        (5, "found a number"),
        (b"\xff\xfe\x00", "is no text; allowed is YAML or JSON in UTF-8"),
        ("a: \ud800", "no Unicode text"),
        ("kind: RayService\n\tx: 1", "is no YAML: line 2, column 1: "),
        ("a: \x00", "is no YAML: it holds a character that YAML does not allow"),
        ("a: *b", r"uses the alias '\*b', and no complete value before it has that anchor"),
        ("a: !!set {x}", "holds the tag 'tag:yaml.org,2002:set' in line 1; allowed are plain mappings and lists"),
        ('{"kind": "RayService", "kind": "RayService"}', "file.yaml: kind: the key stands there twice"),
        (HEAD + "spec: {a: {b: 1, b: 2}}", r"file.yaml: spec.a.b: the key stands there twice; allowed is once"),
        (HEAD + "spec: {1: x}", "spec: found the key '1', which is no text; allowed is text"),
        (HEAD + "spec: {? [a] : x}", "spec: found the key a list, which is no text"),
        (HEAD + "spec: {{{ .Values.x }}: y}", "is no text"),
        (HEAD + "spec: {a: .inf}", "spec.a: found the number inf; JSON has none such"),
        (HEAD + "spec: {a: 1e999}", "spec.a: found the number inf"),
        (HEAD + "spec: {a: !!binary aGk=}", "spec.a: found a value tagged 'binary'; allowed are text"),
        (HEAD + "spec: {a: !mine x}", "spec.a: found a value tagged '!mine'"),
        (HEAD + "spec: {a: !!int x}", "spec.a: found 'x', which is no number"),
        (HEAD + "spec: {a: 99999999999999999999}", "spec.a: found a whole number beyond 64 bits"),
        (HEAD + "spec: {<<: x}", "spec.<<|found no mapping"),
        ({"kind": "RayService", "spec": {"a": dt.date(2024, 1, 1)}}, "spec.a: found a Python date"),
        ({"kind": "RayService", 5: 1}, "the top level: found the key 5, which is no text"),
        ("kind: RayService\nmetadata: {labels: [a]}", "metadata.labels: found a list; allowed is a mapping of text"),
        (
            "kind: RayService\nspec: {t: {metadata: {annotations: {a/b: 5}}}}",
            r"spec.t.metadata.annotations.a/b: found a number \(5\); Kubernetes allows text only, so quote it",
        ),
        ("kind: RayService\nmetadata: {labels: {on: true}}", "found the key 'on', which is no text"),
        ("kind: RayService\nmetadata: {labels: {a: true}}", r"metadata.labels.a: found a truth value \(True\)"),
        ("{{- if .Values.on }}\nkind: RayService\n{{- end }}", r"render it first \(`helm template`\)"),
        ('metadata:\n  labels: {{- include "x" . | nindent 4 }}\n', "render it first"),
        ("kind: RayService\nspec: {replicas: {{ .Values.x }}}", "spec.replicas: found a mapping as a key"),
        ("{% if x %}\nkind: RayService\n{% endif %}", "render it first"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(source: Any, words: str) -> None:
    """Source, key path, what was found, what is allowed; on one line."""
    with pytest.raises(ManifestError, match=words) as raised:
        parse(source)
    assert str(raised.value).startswith("file.yaml")
    assert "\n" not in str(raised.value)


def test_a_date_is_the_text_that_was_written() -> None:
    """As kubectl sends it to the API server (go-yaml, decode.go: a timestamp becomes text)."""
    found = parse(HEAD + "spec: {a: [1, 2024-01-01], b: 2024-01-01T00:00:00Z}")
    assert found.ray_service["spec"] == {"a": [1, "2024-01-01"], "b": "2024-01-01T00:00:00Z"}


def test_a_refusal_does_not_show_the_text_around_it() -> None:
    """The line may hold a password."""
    with pytest.raises(ManifestError) as raised:
        parse("password: made-up: x")
    assert "made-up" not in str(raised.value)
    assert raised.value.args[0].startswith("file.yaml is no YAML: line 1, column 18")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ('"1e3"', "1e3"),
        ("1:30", "1:30"),
        ("6379:6379", "6379:6379"),
        ("0644", 0o644),
        ("0o644", 0o644),
        ("0x1F", 31),
        ("-7", -7),
        ("1_000", 1000),
        ("0.7", 0.7),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("=", "="),
        ("2.46.0", "2.46.0"),
        ("'2024-01-01'", "2024-01-01"),
        ("!!str 5", "5"),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_values_are_read_as_kubernetes_reads_them(text: str, value: Any) -> None:
    """YAML 1.1, less its base 60 and dates, plus floats without a point (go-yaml, which kubectl and KubeRay use)."""
    found = spec(f"{{a: {text}}}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_anchors_and_merge_keys_are_resolved_and_not_shared() -> None:
    """As kubectl resolves them: own keys win, the earlier of several sources wins."""
    made = spec("\n  a: &a {x: 1, y: 1}\n  b: {<<: *a, y: 2}\n  c: {<<: [{x: 3}, *a]}\n  d: *a")
    assert made == {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 3, "y": 1}, "d": {"x": 1, "y": 1}}
    assert made["a"] is not made["d"]


def test_null_labels_and_annotations_are_absent() -> None:
    """`labels:` with nothing behind it; of the pods too."""
    text = HEAD.replace("{name: a}", "{name: a, labels: , annotations: }") + "spec: {t: {metadata: {labels: }}}"
    made = parse(text).ray_service
    assert made["metadata"] == {"name": "a"}
    assert made["spec"] == {"t": {"metadata": {}}}


def test_a_python_dict_becomes_plain() -> None:
    """Tuples, enumerations and subclasses of text leave nothing behind."""

    class Colour(StrEnum):
        RED = "red"

    made = parse({"kind": "RayService", "spec": {"a": (1, Colour.RED)}}).ray_service["spec"]["a"]
    assert made == [1, "red"]
    assert type(made) is list
    assert type(made[1]) is str


TEMPLATE = """{% for message in messages %}{{ '<|' + message['role'] + '|>' }}
  {{ message.content }}: {# note #}
{% endfor %}\t"quoted" & *not an alias*
"""


def test_a_chat_template_survives() -> None:
    """Text with braces, quotes, colons and tabs, as block, in JSON and in a dict."""
    block = "".join(f"    {line}\n" for line in TEMPLATE.splitlines())
    assert spec(f"\n  serveConfigV2: |\n{block}")["serveConfigV2"] == TEMPLATE
    manifest = {"kind": "RayService", "spec": {"serveConfigV2": TEMPLATE}}
    assert parse(json.dumps(manifest)).ray_service == parse(manifest).ray_service == manifest


def test_case_011_is_taken() -> None:
    """A manifest with a Secret beside it, and one with empty labels, as published manifests have them."""
    service = """
apiVersion: ray.io/v1
kind: RayService
metadata:
  name: labels-empty
  labels:
spec:
  serveConfigV2: |
    applications:
    - {name: llms, import_path: "ray.serve.llm:build_openai_app", route_prefix: /}
  rayClusterConfig:
    headGroupSpec: {rayStartParams: {}, template: {spec: {containers: [{name: ray-head, image: "i:1"}]}}}
"""
    parsed = parse(SECRET + "---" + service)
    check_ray_service(parsed.ray_service)
    assert parsed.others == ("Secret/s",)
    assert parsed.ray_service["metadata"].setdefault("labels", {}) == {}
