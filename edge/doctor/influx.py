"""Does InfluxDB answer, does it know the token of this node, and may that write the bucket?"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlencode, urlsplit

from edge.doctor.certificate import SOON_DAYS, days_left
from edge.doctor.network import CONNECT_S, Far, knock
from edge.doctor.result import Result
from edge.site.model import InfluxUplink
from edge.uplink.tls import TlsFileError, client_context
from edge.uplink.token import TokenError, read_token

_NOT_KNOWN = (401, 403)
_NO_POINTS = b"requires points"
"""What InfluxDB 2 says to a request without points, once everything else about it was right."""


def examine_influx(settings: InfluxUplink, site: str, wall: float) -> Result:
    """Write nothing: name, token and bucket are looked at before the points, of which there are none."""
    parts = urlsplit(settings.url)
    secure = parts.scheme == "https"
    far = Far("influx", "uplinks.influx", parts.hostname or "", parts.port or (443 if secure else 80))
    try:
        token = read_token(settings.token_file)
    except TokenError as error:
        return far.found("token", error=error)
    ends = None
    try:
        context = client_context(settings.ca, None, None) if secure else None
        if context is not None:
            ends = knock(far, context)
            line: HTTPConnection = HTTPSConnection(far.host, far.port, timeout=CONNECT_S, context=context)
        else:
            line = HTTPConnection(far.host, far.port, timeout=CONNECT_S)
        bucket = settings.bucket.replace("{site}", site)
        asked = urlencode({"org": settings.org, "bucket": bucket, "precision": "ns"})
        try:
            line.request("POST", f"{parts.path.rstrip('/')}/api/v2/write?{asked}", b"", _headers(token))
            answer = line.getresponse()
            status, said = answer.status, answer.read(10_000)
        finally:
            line.close()
    except TlsFileError:
        return far.found("files")  # `examine_certificates` says why
    except (OSError, UnicodeError) as error:
        return far.fault(error)
    except HTTPException:
        return far.found("no_http")
    if status in _NOT_KNOWN:
        return far.found("not_known", status=status)
    if status == 404:
        return far.found("no_bucket", bucket=bucket, org=settings.org)
    if status != 204 and _NO_POINTS not in said:
        return far.found("trouble", status=status)
    if settings.token_file.stat().st_mode & 0o007:
        return far.found("open_token", file=settings.token_file)
    if ends is None:
        return far.found("plain")
    days = days_left(ends, wall)
    return far.found("ends_soon" if days < SOON_DAYS else "ok", days=days)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Token {token}", "Content-Type": "text/plain; charset=utf-8"}
