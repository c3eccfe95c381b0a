"""Commands, scripts and configurations by which a secret is handed on without an `=` or `:` before it."""

import json

import pytest

from airflow_llm_provisioning.core.secrets import redacted_text, redacted_value, shapes_in

CANARY = "made-up-7"
TEXTS = {
    "docker": "docker login -u me -p made-up-7 r.example",
    "helm": "helm registry login r.example -u me -p 'made-up-7'".replace("'", ""),
    "sshpass": "sshpass -p made-up-7 ssh x",
    "piped": "echo made-up-7 | docker login --username me --password-stdin r.example",
    "piped in quotes": "printf 'made-up-7' | docker login --password-stdin r.example",
    "literal": "kubectl create secret generic x --from-literal=HF=made-up-7",
    "aws": "aws configure set aws_secret_access_key made-up-7",
    "netrc": "printf 'machine x login y password made-up-7' > ~/.netrc",
    "fish": "set -gx HF_TOKEN made-up-7",
    "Dockerfile": "ENV HF_TOKEN made-up-7",
    "Python": "os.environ.setdefault('HF_TOKEN', 'made-up-7')",
    "XML": "<password>made-up-7</password>",
    "YAML list": "env:\n- name: HF_TOKEN\n  value: made-up-7\n",
    "YAML mapping": "runtime_env:\n  env_vars:\n    HF: made-up-7\n    B: made-up-7\n  pip: []\n",
    "YAML with an anchor": "env_vars: &e\n  MINE: made-up-7\nother:\n  env_vars:\n    <<: *e\n    B: made-up-7\n",
    "signed URL": "https://storage.googleapis.com/b/k?GoogleAccessId=a&Signature=made-up-7",
    "mysql": "mysql -h db -u me -pmade-up-7 d",
    "mysqldump": "mysqldump --single-transaction -p'made-up-7' d".replace("'", ""),
    "redis": "redis-cli -h r -a made-up-7 ping",
    "mongo": "mongosh -u me -p made-up-7 d",
    "openssl": "openssl enc -d -aes-256-cbc -k made-up-7 -in w.enc",
    "openssl pass": "openssl rsa -in k -passin pass:made-up-7",
    "ssh-keygen": "ssh-keygen -t ed25519 -N made-up-7 -f k",
    "zip": "unzip -P made-up-7 w.zip",
    "7z": "7z x -pmade-up-7 w.7z",
    "az": "az login --service-principal -u x -p made-up-7 -t y",
    "ldap": "ldapsearch -D cn=x -w made-up-7 -b dc=y",
    "htpasswd": "htpasswd -bc /etc/x me made-up-7",
    "wandb": "wandb login made-up-7",
    "bearer": "sent Bearer made-up-7 to the server",
    "quoted name": "'api key': 'made-up-7'",
    "curl, joined": "curl -ume:made-up-7 https://x.example",
    "curl, with a sign": "curl --user=me:made-up-7 https://x.example",
    "MinIO": "mc alias set s https://x.example AK made-up-7",
    "Windows": "setx HF_TOKEN made-up-7",
    "vLLM's several keys": "vllm serve m --api-key one made-up-7 --port 8000",
    "Slack": "curl -d @x https://hooks.slack.com/services/T0/B0/made-up-7",
    "Discord": "curl https://discord.com/api/webhooks/123/made-up-7",
    "password's hash": "echo 'me:$apr1$made-up-7$abcdefghijkl' > x",
}


@pytest.mark.parametrize("what", TEXTS)
def test_no_command_keeps_it(what: str) -> None:
    """As a text, as an argument and as an annotation; a second pass changes nothing."""
    kept = redacted_text(f"before {TEXTS[what]}\nafter")
    assert CANARY not in kept
    assert kept.startswith("before ")
    assert kept.endswith("after")
    assert redacted_text(kept) == kept
    for place in ({"args": ["bash", "-c", TEXTS[what]]}, {"metadata": {"annotations": {"note": TEXTS[what]}}}):
        assert CANARY not in json.dumps(redacted_value(place))


def test_a_user_with_a_password_as_two_arguments() -> None:
    """A probe that calls curl is a list, not a line; another program's `-u` without a colon stays."""
    told = {"exec": {"command": ["curl", "-u", "me:made-up-7", "http://x", "-u", "me"]}}
    assert redacted_value(told) == {"exec": {"command": ["curl", "-u", "<redacted>", "http://x", "-u", "me"]}}


@pytest.mark.parametrize(
    "text",
    [
        "ray start --head --port 6379 -p 1",
        "the machine is ready and its login works",
        "docker login --password-stdin r.example",
        "env:\n- name: A\n  valueFrom: {secretKeyRef: {name: s, key: k}}",
        "ENVIRONMENT settings are fine",
        "<b>made</b>",
        "mkdir -pv /models && ssh -p 22 x && cp -p a b",
        "openssl enc -k $KEY",
        "openssl rsa -passin env:KEY -in k",
        "openssl req -x509 -nodes -days 365 -keyout k",
        "zip -r w.zip w",
        "az login --identity",
        "wandb login --relogin",
        "mysql --version",
        "a bearer token is missing, Bearer authentication failed, bearer OAuth2",
    ],
)
def test_what_hands_on_no_secret_stays(text: str) -> None:
    """Words that stand in these commands stand elsewhere too."""
    assert redacted_text(text) == text
    assert shapes_in(text) == []
