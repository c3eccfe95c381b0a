"""A canary in every place where users and systems were seen to leave a secret, and names that only sound like one."""

import json
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.manifests import manifest_diff, parse_documents
from airflow_llm_provisioning.core.secrets import Redactor, redacted_text, redacted_value
from airflow_llm_provisioning.core.trace import line, redact
from airflow_llm_provisioning.core.trace.secrets import find_secrets, without_secrets

SAMPLES = Path(__file__).parents[1] / "manifests" / "samples"

CANARY = "made-up-7"
AT = parse_instant("2026-05-04T12:00:00Z")

TEXTS = {
    # vllm-project/vllm#52523 and #53625: the line of arguments that the engine prints at its start.
    "engine log": "non-default args: {'model': 'm', 'api_key': 'made-up-7', 'port': 8000}",
    "engine log with a list": "non-default args: {'api_key': ['made-up-7', 'b'], 'port': 8000}",
    "namespace": "Namespace(host=None, api_key='made-up-7', max_tokens=5)",
    "secret string": "Config(api_key=SecretStr('made-up-7'), x=1)",
    "JSON log": '{"level": "info", "api_key": "made-up-7"}',
    "JSON in a text": 'config is {"nested": {"hf_token": "made-up-7"}}',
    "escaped JSON": 'told "{\\"password\\": \\"made-up-7\\"}"',
    "YAML": "a: b\nredis-password: made-up-7\n",
    "YAML block": "a: b\npassword: |\n  made-up-7\nc: d",
    "dotted": "spring.datasource.password=made-up-7",
    "camel case": "redisPassword=made-up-7",
    "upper case": "WANDB_API_KEY=made-up-7 python serve.py",
    "export": "export WANDB=made-up-7; ray start",
    "export in quotes": 'export X="made-up-7 b"',
    "declared": 'declare -x LICENCE="made-up-7"',
    "option": "vllm serve m --api-key made-up-7 --port 8000",
    "option with a sign": "vllm serve m --hf-token=made-up-7",
    "option in quotes": "vllm serve --api-key 'made-up-7'",
    "printed list": "['vllm', 'serve', '--api-key', 'made-up-7']",
    "query": "GET https://x.example/v1?model=m&api_key=made-up-7&n=1",
    "query key": "GET https://x.example/v1?key=made-up-7",
    "query signature": "GET https://x.example/v1?n=1&sig=made-up-7",
    "URL": "https://me:made-up-7@x.example/a",
    "user of a URL": "https://made-up-7@x.example/a",
    "header": "X-Api-Key: made-up-7",
    "authorization": "authorization: AWS4-HMAC-SHA256 Credential=a, Signature=made-up-7",
    "short bearer": "Authorization: Bearer made-up-7",
    "cookie": "Cookie: a=b; session=made-up-7",
    "curl": "curl -u me:made-up-7 https://x.example",
    "printed variable": "{'name': 'HF', 'value': 'made-up-7'}",
    "printed environment": "runtime_env={'env_vars': {'HF': 'made-up-7'}, 'pip': []}",
    "Azure": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=made-up-7==;",
    "database": "dsn postgresql://h/db?user=u&password=made-up-7",
    "event": "Error: failed to log in with password=made-up-7: exit status 1",
    "Go struct": "&Config{Token:made-up-7, Host:x}",
    "sentence": "Incorrect API key provided: made-up-7. Find yours in the settings.",
    "sentence with a sign": "using access token = made-up-7",
    "INI": "[default]\naws_secret_access_key = made-up-7",
    "client key": "users: [{user: {client-key-data: made-up-7}}]",
    "docker": '{"auths": {"r.example": {"auth": "made-up-7"}}}',
    "unclosed": "api_key='made-up-7",
    "pair": "headers=[('x-api-key', 'made-up-7')]",
    "pair of bytes": "[(b'x-api-key', b'made-up-7')]",
    "pair in JSON": '[["x-api-key", "made-up-7"], ["accept", "a"]]',
    "read with a default": "os.getenv('HF_TOKEN', 'made-up-7')",
    "basic credentials": "aiohttp.BasicAuth('me', password='made-up-7')",
    # urllib3 and proxies quote a URL inside another one; Go escapes the sign between parameters.
    "URL in a URL": "GET /p?to=https%3A%2F%2Fx.example%2Fm%3Fsv%3D2022-11-02%26sig%3Dmade-up-7%26sp%3Dr",
    "URL in Go's JSON": '"https://x.example/m?sp=r\\u0026sig=made-up-7"',
    "URL in HTML": "<a href='https://x.example/m?sp=r&amp;sig=made-up-7'>",
    "signature in lower case": "https://x.example/k?x-goog-signature=made-up-7",
    "URL of a database": "postgresql+psycopg2://me:a/made-up-7@db/x",
    "driver's URL": "jdbc:oracle:thin:scott/made-up-7@//db:1521/x",
    "prose": "the password made-up-7 was rejected for user me",
    "prose in quotes": "Invalid API key 'made-up-7'",
    "prose with a verb": "your password is made-up-7, keep it",
    "token in prose": "using token made-up-7 for user me",
    "properties": "db.password made-up-7",
    # pydantic-core, src/errors/validation_exception.rs
    "validation error": "1 validation error for Settings\nhf_token\n  Input should be a valid string "
    "[type=string_type, input_value='made-up-7', input_type=str]",
    "validation error of a variable": "1 validation error for A\nruntime_env.env_vars.MINE\n  Input should be a valid "
    "string [type=string_type, input_value='made-up-7', input_type=str]",
    "tag": "password: !!str made-up-7",
    "anchor": "password: &pw made-up-7",
    "doubled quote": "password: 'it''s made-up-7'",
    "three quotes": 'password = """made-up-7"""',
    "JSON in CSV": '"{""password"": ""made-up-7""}",1',
    "CDATA": "<password><![CDATA[made-up-7]]></password>",
    # structlog's console renderer
    "colours": "\x1b[36mhf_token\x1b[0m=\x1b[35mmade-up-7\x1b[0m",
    "no width": "pass\u200bword=made-up-7",
    "wide signs": "password\uff1amade-up-7 api_key\uff1dmade-up-7",
    "another language": "Kennwort=made-up-7 Passwort: made-up-7 contrase\u00f1a=made-up-7",
    "master key": "Master key: made-up-7",
    "assertion": "client_assertion=made-up-7&SAMLResponse=made-up-7",
    "netrc in lines": "machine x.example\nlogin me\npassword made-up-7\n",
}


@pytest.mark.parametrize("what", TEXTS)
def test_no_text_keeps_it(what: str) -> None:
    """Logs, messages and commands, in any quotes; what is around it stays, and a second pass changes nothing."""
    text = f"before\n{TEXTS[what]}\nafter"
    kept = redacted_text(text)
    assert CANARY not in kept
    assert kept.startswith("before\n")
    assert kept.endswith("after")
    assert redacted_text(kept) == kept
    assert CANARY not in redacted_text(text.replace("\n", "  ")) or "|" in text
    assert CANARY not in json.dumps(redacted_value({"message": [json.dumps({"log": TEXTS[what]})]}))


VALUES: dict[str, Any] = {
    "engine arguments": {"engine_kwargs": {"api_key": CANARY}},
    "start parameters": {"rayStartParams": {"redis-password": CANARY}},
    "fault tolerance": {"gcsFaultToleranceOptions": {"redisPassword": {"value": CANARY}}},
    "annotation": {"metadata": {"annotations": {"team.example/api-key": CANARY}}},
    "annotation with JSON": {"metadata": {"annotations": {"note": json.dumps({"env": {"A": CANARY}})}}},
    "label": {"metadata": {"labels": {"auth-token": CANARY}}},
    "two items": {"args": ["--api-key", CANARY, "--port", "8000"]},
    "three items": {"args": ["--api-key", "one", CANARY, "--port", "8000"]},
    "one item": {"args": [f"--api-key={CANARY}"]},
    "shell": {"command": ["bash", "-c", f"export X={CANARY}; ray start"]},
    "shell variable": {"command": ["bash", "-c", f"MINE={CANARY} ray start"]},
    "shell in lines": {"args": [f"set -e\nexport X={CANARY}\nray start"]},
    "probe": {"livenessProbe": {"httpGet": {"httpHeaders": [{"name": "X-Mine", "value": CANARY}]}}},
    "exec": {"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", f"A={CANARY} b"]}}}},
    "user config": {"deployments": [{"user_config": {"mine": [CANARY]}}]},
    "variables": {"env": [{"name": "A", "value": CANARY}]},
    "variables as texts": {"env": [f"A={CANARY}"]},
    "map of variables": {"env": {"A": CANARY}},
    "map of an environment": {"environment": {"MINE": CANARY}},
    "runtime environment": {"runtime_env": {"env_vars": {"A": CANARY}}},
    "camel-case variables": {"envVars": {"A": CANARY}},
    "driver": {"csi": {"driver": "d", "volumeAttributes": {"mine": CANARY}}},
    "secret": {"kind": "Secret", "data": {"a": CANARY}},
    "secret's text": {"kind": "Secret", "stringData": {"a": CANARY}},
    "list of keys": {"api_keys": [CANARY]},
    "mapping of keys": {"credentials": {"user": "u", "anything": {"deep": CANARY}}},
    "parameter": {"parameters": [{"name": "hf_token", "value": CANARY}]},
    "headers": {"default_headers": {"X-Mine": CANARY}},
    "registry": {"registry": {"auths": {"r.example": {"auth": CANARY}}}},
    "URL": {"index_url": f"https://u:{CANARY}@x.example/a"},
    "query": {"url": f"https://x.example/a?token={CANARY}"},
    "variable's name": {"HF_TOKEN_PROD": CANARY},
    "number": {"password": 4711, "passphrase": CANARY},
    "program and its option": {"exec": {"command": ["redis-cli", "-a", CANARY, "ping"]}},
    "joined option": {"exec": {"command": ["mysqladmin", f"-p{CANARY}", "ping"]}},
    "login": {"command": ["docker", "login", "-u", "me", "-p", CANARY]},
    "setting": {"command": ["aws", "configure", "set", "aws_secret_access_key", CANARY]},
    "program in command, option in args": {"command": ["sshpass"], "args": ["-p", CANARY, "ssh", "x"]},
    "user in an option": {"command": ["curl", f"--user=me:{CANARY}", "https://x.example"]},
    "options of a container": {"container": {"run_options": [f"-e MINE={CANARY}"]}},
    "headers as pairs": {"headers": [["X-Mine", CANARY]]},
    "headers by turns": {"rawHeaders": ["X-Mine", CANARY]},
    "headers as texts": {"headers": [f"X-Mine: {CANARY}"]},
    "pair": {"x": [["x-api-key", CANARY]]},
    "declared secret": {"arguments": [{"name": "MINE", "value": CANARY, "isSecret": True}]},
    "key of a product": {"fernet_key": CANARY, "hf_key": CANARY, "passkey": CANARY, "gitPat": CANARY},
    "connection string": {"connectionString": CANARY},
}


@pytest.mark.parametrize("what", VALUES)
def test_no_value_keeps_it(what: str) -> None:
    """In a recording, a copy of it, a manifest's difference and any other JSON; the export's search names its place."""
    value = VALUES[what]
    assert CANARY not in json.dumps(redacted_value(value))
    assert CANARY not in json.dumps(redact("rayservices", {"spec": {"deep": [value]}}))
    assert CANARY not in manifest_diff({}, value)
    item = line(AT, "ADDED", "rayservices", value)
    assert CANARY not in json.dumps(without_secrets(item))
    assert find_secrets([item])
    assert find_secrets([without_secrets(item)]) == ()


@pytest.mark.parametrize("what", VALUES)
def test_serves_configuration_keeps_none(what: str) -> None:
    """The configuration is YAML inside a text, of a RayService and of Serve's answer."""
    config = json.dumps({"applications": [{"import_path": "m:a", "args": VALUES[what]}]})
    assert CANARY not in json.dumps(redact("rayservices", {"spec": {"serveConfigV2": config}}))
    assert CANARY not in json.dumps(redact("serve-rest", {"applications": {"a": {"deployed_app_config": config}}}))


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=4096 num_tokens: 12 max_num_batched_tokens=8192",
        "tokenizer='microsoft/Phi-3', tokenizer_mode=auto, skip_tokenizer_init=False",
        "non-default args: {'model': 'm', 'max_model_len': 4096, 'seed': 0}",
        "eos_token='</s>' pad_token: <pad> token_ids: [1, 2]",
        "Avg prompt throughput: 12.3 tokens/s, time_to_first_token: 0.5 s",
        "time_per_output_token=0.02s",
        'MountVolume.SetUp failed for volume "x" : secret "hf-token" not found',
        "failed to fetch oauth token: unauthorized",
        "couldn't find key HF_TOKEN in Secret default/hf",
        "pull access denied: authorization failed",
        "authorization mode: token",
        "authorization: permission denied by the registry",
        'failed to fetch token: serviceaccounts "x" is forbidden',
        "references non-existent secret key: hf_token",
        "invalid api key: not found",
        "api_key=None hf_token: null use_auth_token=False password=$PASSWORD --api-key $(KEY)",
        "Loading weights took 3.2 seconds",
        "PWD=/home/ray",
        "HF_HUB_ENABLE_HF_TRANSFER=1",
        "apiVersion: authentication.k8s.io/v1",
        "git@github.com:ray-project/ray.git",
        "topologyKey: kubernetes.io/hostname, key: nvidia.com/gpu, partition_key: a",
        "detect-secrets==1.5.0",
        "unexpected token 'a1b2c3d4' at line 3, special token 'im_start1', stop token abc12345",
        "Token indices sequence length is longer than the specified maximum (5000 > 4096)",
        "password is base64-encoded, password hash sha256, password DB_PASSWORD_1 is unset",
        "couldn't find key password2 in Secret default/hf; token hf-token-v2 not found",
        "Missing fields: ['password', 'username'], getenv('HF_HOME', '/models/a1')",
        "http://host:8080/path@v1 docker://registry.example:5000/x@sha256:0123456789abcdef",
        "redis://redis:6379/0@x https://x.example/a?b=1&amp;c=2",
        "authorization_mode: RBAC auth_method=none",
        "\x1b[36mmax_tokens\x1b[0m=\x1b[35m12\x1b[0m",
        "max_tokens\n  Input should be a valid integer [type=int_type, input_value='a', input_type=str]",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Counts of tokens, tokenizers, references, and the sentences of a cluster that explain a failure."""
    assert redacted_text(text) == text


@pytest.mark.parametrize(
    "told", ["export HF={}\n", '{{"auths": {{"r.example": {{"password": "{}"}}}}}}', "password={}!"]
)
def test_an_encoded_text_with_a_secret_goes(told: str) -> None:
    """A script decodes it into a file; user data and annotations hold it. One without a secret stays."""
    secret, plain = (
        b64encode((told.format(CANARY) if hidden else "a: b\n" * 9).encode()).decode() for hidden in (1, 0)
    )
    text = f"echo {secret} | base64 -d > /tmp/x && echo {plain} | base64 -d"
    assert redacted_text(text) == f"echo <redacted> | base64 -d > /tmp/x && echo {plain} | base64 -d"
    assert secret not in json.dumps(redacted_value({"UserData": secret, "args": ["sh", "-c", text]}))


def test_a_key_goes_with_every_line_before_its_end() -> None:
    """Also where a log puts a stamp with dashes before each line."""
    begin, end = (f"-----{word} PGP PRIVATE KEY BLOCK-----" for word in ("BEGIN", "END"))
    lines = [begin, "lQdGBF4", CANARY, end]
    for text in ("\n".join(lines), "\n".join(f"2026-05-04T12:00:00.1-02:00 stdout F {part}" for part in lines)):
        told = redacted_text(f"a\n{text}\nb")
        assert CANARY not in told
        assert told.startswith("a\n")
        assert told.endswith("\nb")


def test_no_field_that_is_measured_changes() -> None:
    """References to secrets, selectors, volumes and the switches that decide verdicts."""
    kept = {
        "env": [
            {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-secret", "key": "hf_api_token"}}},
            {"name": "HF_HUB_ENABLE_HF_TRANSFER", "value": "1"},
            {"name": "EMPTY", "value": ""},
        ],
        "imagePullSecrets": [{"name": "regcred"}],
        "image_pull_secrets": ["regcred"],
        "volumes": [{"name": "s", "secret": {"secretName": "hf", "defaultMode": 420}}],
        "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]},
        "automountServiceAccountToken": True,
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "affinity": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
        "engine_kwargs": {"max_num_batched_tokens": 8192, "tokenizer": "m", "tokenizer_mode": "auto"},
        "usage": {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": 13},
        "annotations": {"ray.io/node-type": "head"},
        "environment": {"kubelet": "v1.34.9", "driver": "580"},
        "args": ["--max-tokens", "5", "--tokenizer", "m"],
        "token": 151643,
    }
    assert redacted_value(kept) == kept
    assert redact("pods", kept) == kept


def test_equal_secrets_have_equal_numbers() -> None:
    """A reader of a difference sees that a secret changed."""
    numbers: dict[str, int] = {}
    redactor = Redactor(lambda secret: f"<redacted {numbers.setdefault(secret, len(numbers) + 1)}>")
    told = redactor.value([{"api_key": "a"}, {"api_key": "b"}, "password=a"])
    assert told == [{"api_key": "<redacted 1>"}, {"api_key": "<redacted 2>"}, "password=<redacted 1>"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.sampled_from(list(TEXTS.values())),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["api_key", "env", "args", "name", "value", "secret", "token", "headers", "data", "kind"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_a_second_pass_changes_nothing(value: Any) -> None:
    """What is redacted stays as it is, so an export of a stored trace has no findings."""
    once = redacted_value(value)
    assert redacted_value(once) == once


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recorded_manifest_is_free_of_findings(sample: Path) -> None:
    """An export looks for secrets once more, and refuses what a further pass would change."""
    recorded = redact("rayservices", parse_documents(sample.read_text(), where="It").ray_service)
    assert redact("rayservices", recorded) == recorded
    assert find_secrets([line(datetime(2026, 11, 30, tzinfo=UTC), "ADDED", "rayservices", recorded)]) == ()


@pytest.mark.parametrize(
    "text",
    [
        "env_vars:\n  A: <redacted>\n  HF_HUB_DISABLE_XET: '4'\n  # why\nnext: 1",
        "env_vars: {A: <redacted>, 'B': \"<redacted>\"}",
        "env:\n  A: ''\n  B:\n",
        "env_vars:\n  INSTANTTENSOR_BACKEND: URING,AIO\n  A: <redacted>",
    ],
)
def test_variables_that_are_hidden_already_stay(text: str) -> None:
    assert redacted_text(text) == text


def test_deep_input_is_cut() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    assert "<redacted>" in str(redacted_value(deep))


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "token='",
        "a=",
        "--a ",
        "password=[",
        "://",
        "sk-",
        "name:",
        "key: ",
        " token ",
        "name=a,value",
        "env:\n ",
        "env:\n # ",
        "password is ",
        "('token', '",
        "a  A input_value=",
        "%26sig%3D",
        "redis://a:",
        "curl -u",
        "c2VjcmV0",
        "password=cGFzc3dvcmQ9 ",
        "-----BEGIN PRIVATE KEY-----\n",
        "\x1b[1m\uff1a",
    ],
)
def test_long_input_ends_soon(piece: str) -> None:
    """No text takes more than linear time: a long one takes a tenth of the bound."""
    started = time.process_time()
    redacted_text(piece * (100_000 // len(piece)))
    assert time.process_time() - started < 2
