"""Tokens of nodes in InfluxDB 2: each may write one bucket and nothing else. Whether sites share it the settings say.

InfluxDB tells a token once, when it is made (2.8 and later may keep only its hash).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.authorization import Authorization
from influxdb_client.domain.permission import Permission
from influxdb_client.domain.permission_resource import PermissionResource
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from broker.dispatch.settings import Influx

TIMEOUT_S = 5.0


class InfluxError(Exception):
    """InfluxDB does not do it; the text says why, without a token."""


@dataclass(frozen=True, slots=True)
class Made:
    """An authorization: its id, and the token, which is a secret."""

    id: str
    token: str


class Authorizations:
    """One connection, to be closed. admin: a token that may see organisation and buckets, make and delete tokens."""

    def __init__(self, settings: Influx, admin: str, timeout_s: float = TIMEOUT_S) -> None:
        self._org = settings.org
        self._bucket = settings.bucket
        self._client = InfluxDBClient(
            url=settings.url,
            token=admin,
            org=settings.org,
            timeout=round(timeout_s * 1000),
            retries=False,  # whoever asked us does it again
            ssl_ca_cert=str(settings.ca) if settings.ca is not None else None,
        )

    def bucket(self, site: str) -> str:
        return self._bucket.replace("{site}", site)

    def make(self, site: str, node: str, mark: str) -> Made:
        """A token for a node's box. mark: tells it from others of this node; what there is with the same mark is
        deleted, since nobody has its token. Raises InfluxError."""
        description = f"banksman {site}/{node} {mark}"
        bucket = self.bucket(site)
        with _told(f"no token for {site}/{node}"):
            org = self._id(f"organisation {self._org!r}", self._org, self._orgs)
            target = self._id(f"bucket {bucket!r} in {self._org!r}", bucket, lambda: self._buckets(bucket, org))
            api = self._client.authorizations_api()
            for old in api.find_authorizations(org_id=org):  # type: ignore[no-untyped-call]
                if old.description == description:
                    api.delete_authorization(old.id)  # type: ignore[no-untyped-call]
            write = Permission(action="write", resource=PermissionResource(type="buckets", id=target, org_id=org))  # type: ignore[no-untyped-call]
            made = api.create_authorization(
                authorization=Authorization(org_id=org, permissions=[write], description=description)  # type: ignore[no-untyped-call]
            )
        if not made.id or not made.token:
            raise InfluxError(f"no token for {site}/{node}: InfluxDB's answer has none")
        return Made(made.id, made.token)

    def forget(self, which: str) -> None:
        """Delete an authorization by its id; one that is gone already is no fault. Raises InfluxError."""
        with _told(f"authorization {which} is not deleted"):
            try:
                self._client.authorizations_api().delete_authorization(which)  # type: ignore[no-untyped-call]
            except ApiException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    def _orgs(self) -> Iterable[Any]:
        return self._client.organizations_api().find_organizations(org=self._org) or ()  # type: ignore[no-untyped-call]

    def _buckets(self, name: str, org: str) -> Iterable[Any]:
        return self._client.buckets_api().find_buckets(name=name, org_id=org).buckets or ()  # type: ignore[no-untyped-call]

    @staticmethod
    def _id(what: str, name: str, ask: Callable[[], Iterable[Any]]) -> str:
        try:
            found = [str(one.id) for one in ask() if one.name == name]
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            found = []
        if not found:
            raise InfluxError(f"InfluxDB has no {what}, or its operator's token may not see it")
        return found[0]

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What came back is not repeated: there may be a token in it."""
    try:
        yield
    except ApiException as error:
        raise InfluxError(f"{what}: InfluxDB says {error.status}") from None
    except (HTTPError, OSError) as error:
        raise InfluxError(f"{what}: InfluxDB does not answer ({type(error).__name__})") from None
    except (ValueError, TypeError, AttributeError) as error:  # what its client does with an answer of something else
        raise InfluxError(f"{what}: that is no InfluxDB 2 ({type(error).__name__})") from None
