"""The node's key and certificate: made, asked for, compared, by the `openssl` program, which a node has anyway (it
checks releases with it). The library that does the same would take 15 MB of the card.

Keys go through pipes, never into arguments or files here. No check looks at the clock, which may be wrong by years.
"""

from __future__ import annotations

import subprocess
import tempfile

from edge.enrol.error import EnrolError

_TIMEOUT_S = 30.0


def new_key() -> bytes:
    """PEM; EC P-256."""
    return _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def request(key: bytes, name: str) -> str:
    """A certificate request (PEM) of this key for the CN `site/node`."""
    subject = "/CN=" + name.replace("/", r"\/")
    return _openssl("req", "-new", "-sha256", "-key", "/dev/stdin", "-subj", subject, given=key).decode("ascii")


def check(key: bytes, certificate: bytes, ca: bytes, name: str) -> None:
    """Whether they belong together: this node's certificate, for this key, of one of these authorities. All PEM.

    Raises EnrolError.
    """
    subject = _openssl("x509", "-noout", "-subject", "-nameopt", "RFC2253", given=certificate).decode(errors="replace")
    named = subject.strip().removeprefix("subject=").removeprefix("CN=")
    if named != name:
        raise EnrolError("identity.name", name=named, wanted=name)
    if _openssl("x509", "-noout", "-pubkey", given=certificate) != _openssl(
        "pkey", "-pubout", "-passin", "pass:", given=key
    ):
        raise EnrolError("identity.key")
    with tempfile.NamedTemporaryFile() as bundle:
        bundle.write(ca)
        bundle.flush()
        trust = ("-CAfile", bundle.name, "-no-CApath", "-no-CAstore", "-no_check_time", "-purpose", "sslclient")
        _openssl("verify", *trust, given=certificate, wrong="identity.ca")


def _openssl(*command: str, given: bytes = b"", wrong: str = "identity.no_pem") -> bytes:
    """What it writes. wrong: key of the error where it refuses. It never asks for a password: there is nobody."""
    try:
        done = subprocess.run(  # noqa: S603 all of it is ours; a name is what a topic may hold
            ["openssl", *command],  # noqa: S607 wherever the system has it
            input=given, capture_output=True, check=False, timeout=_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnrolError("identity.openssl", why=str(error)) from error
    if done.returncode != 0:
        raise EnrolError(wrong)
    return done.stdout
