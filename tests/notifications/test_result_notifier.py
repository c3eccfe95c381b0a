"""Messages through the notifiers of the SMTP and the Slack provider, over a wire to local servers."""

import json
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseNotifier

from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.notifications import HTML, SLACK, SUBJECT, ResultNotifier

TEXT = "eks plain (measured): since night 3 slower by 14.2 %, <!channel> phase worker_image_pull {{ 7 * 7 }}"
ALARM = [{"text": TEXT, "change_pct": 14.2, "recovered": False}]


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail without a login, as RFC 5321 says."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Mail)
        self.received: list[str] = []


class _Mail(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        """Answer commands until QUIT."""
        self.wfile.write(b"220 local\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.received.append(b"".join(lines).decode())
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


class ChatServer(HTTPServer):
    """Stands in for Slack's incoming webhooks. `status`: of its answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Chat)
        self.received: list[Any] = []
        self.status = 200


class _Chat(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        """Keep the message."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((self.path, body))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of http.server
        """Say nothing."""


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    server = MailServer()
    host, port = server.server_address[:2]
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
    connection = {"conn_type": "smtp", "host": host, "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    yield from _served(server)


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    server = ChatServer()
    address = f"http://127.0.0.1:{server.server_address[1]}/services"
    connection = {"conn_type": "slackwebhook", "host": address, "password": "T0/B0/made-up"}
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_DEFAULT", json.dumps(connection))
    yield from _served(server)


def _served(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def through() -> list[BaseNotifier]:
    """Return the notifiers of the two providers, with this package's templates."""
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    to_mail = SmtpNotifier(to="on-call@example.com", subject=SUBJECT, html_content=HTML)
    return [to_mail, SlackWebhookNotifier(slack_webhook_conn_id="slack_default", text=SLACK)]


def context(result: Any = None, exception: Exception | None = None) -> Any:
    """Return a task's context as a callback gets it."""
    ti = SimpleNamespace(task_id="changes", dag_id="nightly", run_id="run-1", xcom_pull=lambda task_ids: result)
    return {"ti": ti, "dag_run": ti, **({"exception": exception} if exception else {})}


def test_an_alarm_reaches_mail_and_chat(mail: MailServer, chat: ChatServer) -> None:
    """Both get the whole sentence. What a cluster said is no template, no markup in the mail, no call in the chat."""
    ResultNotifier(about="alarm", through=through())(context(ALARM))
    (received,) = mail.received
    told = message_from_string(received)
    assert str(told["Subject"]).replace("\n", "") == "Deployments changed: nightly, run-1"
    html = "".join(part.get_payload(decode=True).decode() for part in told.walk() if not part.is_multipart())
    assert "&lt;!channel&gt; phase worker_image_pull {{ 7 * 7 }}" in html
    ((path, body),) = chat.received
    assert path == "/services/T0/B0/made-up"
    assert body["text"].startswith("Deployments changed: nightly, run-1\n- eks plain (measured): since night 3")
    assert "&lt;!channel&gt; phase worker_image_pull {{ 7 * 7 }}" in body["text"]


def test_without_news_nothing_is_told(mail: MailServer, chat: ChatServer) -> None:
    """A night without a change sends nothing."""
    for about, result in (
        ("alarm", []),
        ("gate", {"gates": 0}),
        ("serving", {"gates": 0, "serves_slower": []}),
        ("leaks", {"left": [], "problems": []}),
        ("budget", {}),
    ):
        ResultNotifier(about=about, through=through())(context(result))
    assert (mail.received, chat.received) == ([], [])


def test_an_arm_that_serves_slower_is_told_though_the_run_passes(mail: MailServer, chat: ChatServer) -> None:
    """What `JudgeRun` returned without failing is a message of its own."""
    sentence = "static level_0 starts 6.4 % faster and serves 39 % slower than the baseline: 30.3 tokens/s."
    ResultNotifier(about="serving", through=through())(context({"trials": 6, "gates": 0, "serves_slower": [sentence]}))
    assert len(mail.received) == 1
    assert chat.received[0][1]["text"] == f"Starts faster, serves slower: nightly, run-1\n- {sentence}"


def test_a_failed_gate_is_told_by_its_error_and_without_secrets(mail: MailServer, chat: ChatServer) -> None:
    """The task's sentence is the message; the same notifier can be called again."""
    notifier = ResultNotifier(about="gate", through=through())
    for _ in range(2):
        notifier(context(exception=RuntimeError("eks/w/static/baseline: slower. password=hunter2secret")))
    assert len(mail.received) == len(chat.received) == 2
    assert "The gate did not pass: nightly, run-1" in chat.received[0][1]["text"]
    assert "hunter2secret" not in mail.received[0] + str(chat.received)


def test_one_that_fails_does_not_keep_the_others_silent(mail: MailServer, chat: ChatServer) -> None:
    """The chat refuses; the mail still arrives, and the error is raised."""
    chat.status = 500
    notifiers = through()
    with pytest.raises(Exception, match="500"):
        ResultNotifier(about="alarm", through=[notifiers[1], notifiers[0]])(context(ALARM))
    assert len(mail.received) == 1


def test_leaks_are_told_with_place_and_price(mail: MailServer, chat: ChatServer) -> None:
    """What is left, and what could not be listed."""
    left = [{"kind": "node", "name": "n-1", "place": "eks", "state": "orphan", "price_usd_h": 1.2, "why": "no trial"}]
    ResultNotifier(about="leaks", through=through())(context({"left": left, "problems": ["aks did not answer"]}))
    told = chat.received[0][1]["text"]
    assert "- node n-1, in eks, orphan, 1.20 USD an hour: no trial" in told
    assert "- not known: aks did not answer" in told


def test_a_budget_that_is_used_up_is_told(chat: ChatServer, mail: MailServer) -> None:
    """In its own sentence; one that is not used up is no news."""
    rows = [{"exceeded": True, "sentence": "Spent 52.10 of 50.00 USD."}, {"exceeded": False, "sentence": "Fine."}]
    ResultNotifier(about="budget", through=through())(context({"budgets": rows}))
    assert chat.received[0][1]["text"] == "The budget is used up: nightly, run-1\n- Spent 52.10 of 50.00 USD."


def test_an_unknown_kind_is_refused_when_the_dag_is_parsed() -> None:
    """With the known ones."""
    with pytest.raises(ConfigurationError, match="Use one of: alarm, gate, serving, leaks, budget"):
        ResultNotifier(about="alarms", through=[])


def test_many_lines_are_cut() -> None:
    """A chat is no report."""
    from airflow_llm_provisioning.core.messages import MOST_LINES, message_of

    found = message_of("alarm", [{"text": f"cell {n}"} for n in range(100)], None, "d, r")
    assert found is not None
    assert len(found.lines) == MOST_LINES + 1
    assert found.lines[-1] == f"and {100 - MOST_LINES} more"
