"""Does the server for pictures and clips answer, and does it know this node?"""

from __future__ import annotations

from http.client import HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from edge.doctor.certificate import SOON_DAYS, days_left
from edge.doctor.network import CONNECT_S, Far, knock
from edge.doctor.result import Result
from edge.site.model import EvidenceUplink
from edge.uplink.tls import TlsFileError, client_context

_NOT_KNOWN = (401, 403)
_NOT_IMPLEMENTED = 501  # a server that knows PUT alone is in order


def examine_evidence(settings: EvidenceUplink, wall: float) -> Result:
    """Ask for the head of `/evidence/`, which stores nothing; any answer but a refusal or a failure will do."""
    parts = urlsplit(settings.url)
    far = Far("evidence", "uplinks.evidence", parts.hostname or "", parts.port or 443)
    try:
        context = client_context(settings.ca, settings.cert, settings.key)
    except TlsFileError:
        return far.found("files")  # `examine_certificates` says why
    line = HTTPSConnection(far.host, far.port, timeout=CONNECT_S, context=context)
    try:
        ends = knock(far, context)
        line.request("HEAD", f"{parts.path.rstrip('/')}/evidence/")
        status = line.getresponse().status
    except (OSError, UnicodeError) as error:
        return far.fault(error)
    except HTTPException:
        return far.found("no_http")
    finally:
        line.close()
    if status in _NOT_KNOWN:
        return far.found("not_known", status=status)
    if status >= 500 and status != _NOT_IMPLEMENTED:
        return far.found("trouble", status=status)
    days = days_left(ends, wall)
    return far.found("ends_soon" if days < SOON_DAYS else "ok", days=days)
