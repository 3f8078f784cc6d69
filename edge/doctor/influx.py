"""Does InfluxDB answer, does it know the token of this node, and may that write the bucket?"""

from __future__ import annotations

import ssl
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
        context = client_context(settings.ca, None, None) if secure else None
    except TokenError as error:
        return far.found("token", error=error)
    except TlsFileError:
        return far.found("files")  # `examine_certificates` says why
    try:
        ends = knock(far, context) if context is not None else None
        found = _ask(far, context, settings, site, token)
    except (OSError, UnicodeError) as error:
        return far.fault(error)
    return _well(far, settings, ends, wall) if found is None else found


def _well(far: Far, settings: InfluxUplink, ends: float | None, wall: float) -> Result:
    if settings.token_file.stat().st_mode & 0o007:
        return far.found("open_token", file=settings.token_file)
    if ends is None:
        return far.found("plain")
    days = days_left(ends, wall)
    return far.found("ends_soon" if days < SOON_DAYS else "ok", days=days)


def _ask(far: Far, context: ssl.SSLContext | None, settings: InfluxUplink, site: str, token: str) -> Result | None:
    """None where the node may write."""
    bucket, path = settings.bucket.replace("{site}", site), urlsplit(settings.url).path.rstrip("/")
    asked = urlencode({"org": settings.org, "bucket": bucket, "precision": "ns"})
    headers = {"Authorization": f"Token {token}", "Content-Type": "text/plain; charset=utf-8"}
    line = (
        HTTPConnection(far.host, far.port, timeout=CONNECT_S)
        if context is None
        else HTTPSConnection(far.host, far.port, timeout=CONNECT_S, context=context)
    )
    try:
        line.request("POST", f"{path}/api/v2/write?{asked}", b"", headers)
        answer = line.getresponse()
        status, said = answer.status, answer.read(10_000)
    except HTTPException:
        return far.found("no_http")
    finally:
        line.close()
    if status == 204 or _NO_POINTS in said:
        return None
    if status == 404:
        return far.found("no_bucket", bucket=bucket, org=settings.org)
    return far.found("not_known" if status in _NOT_KNOWN else "trouble", status=status)
