"""What a database connection's extra says of TLS, as parameters of its SQLAlchemy URL: by name, never dropped silently.

Airflow's hooks put only `sqlalchemy_query` of the extra into the URL (apache-airflow-providers-postgres 6, -mysql 6).
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.engine import URL, make_url

from airflow_llm_provisioning.exceptions import ConnectionConfigError

# postgresql.org, libpq, "Parameter Key Words": how the server is reached and trusted.
_POSTGRES: Final = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcrldir", "sslsni", "sslnegotiation",
    "sslcertmode", "ssl_min_protocol_version", "ssl_max_protocol_version", "channel_binding", "require_auth",
    "requirepeer", "gssencmode", "krbsrvname", "target_session_attrs", "connect_timeout", "application_name", "options",
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "hostaddr",
)  # fmt: skip
# docs.sqlalchemy.org, MySQL dialects: their URLs take ssl_*; the extra has them inside `ssl` (providers-mysql).
_MYSQL: Final = (
    "ssl_ca", "ssl_cert", "ssl_key", "ssl_capath", "ssl_cipher", "ssl_check_hostname", "ssl_mode", "charset",
)  # fmt: skip
_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {"postgresql": _POSTGRES, "mysql": _MYSQL, "mariadb": _MYSQL}


def with_settings(url: str, extra: Mapping[str, Any], conn_id: str) -> str:
    """Return a SQLAlchemy URL with a connection's settings of TLS and of the way to the server.

    Raises ConnectionConfigError for a setting of TLS that this database's URL has no place for: it would be ignored.
    """
    parsed = make_url(url)
    given = {name: value for name, value in _flat(extra).items() if value not in ("", None, {})}
    known = _KNOWN.get(parsed.get_backend_name(), ())
    ignored = sorted(name for name in given if name not in known and _is_tls(name))
    if ignored:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} has the settings {', '.join(ignored)} in its extra, which the results "
            f"store cannot pass on to {parsed.get_backend_name()}: give them in `sqlalchemy_query`, or take them out."
        )
    settings = {name: _text(given[name]) for name in known if name in given}
    made: URL = parsed.update_query_dict({name: value for name, value in settings.items() if name not in parsed.query})
    return made.render_as_string(hide_password=False)


def _flat(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the extra with MySQL's `ssl` mapping, also one that is JSON text, spelled as the URL's parameters."""
    flat = dict(extra)
    inner = flat.get("ssl")
    if isinstance(inner, str) and inner.lstrip().startswith("{"):
        inner = json.loads(inner)
    if isinstance(inner, Mapping):
        del flat["ssl"]
        flat |= {f"ssl_{name}": value for name, value in inner.items()}
    return flat


def _is_tls(name: str) -> bool:
    return name.lower().startswith(("ssl", "tls")) or "encrypt" in name.lower() or "servercert" in name.lower()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
