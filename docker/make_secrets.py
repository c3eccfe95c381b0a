"""Draw the secrets that Airflow's services share, once: the key of its database's secrets, and the tokens' secret."""

import base64
import secrets
import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in ("fernet_key", "jwt_secret"):
        path = folder / name
        if not path.exists():
            # 32 bytes in URL-safe base64: what Fernet asks for, and enough for the other.
            path.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
            path.chmod(0o600)
