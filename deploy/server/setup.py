"""Services that run, brought to what Banksman needs of them. Each step looks first, and does what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select

from broker.dispatch import settings as dispatch_settings
from broker.dispatch.database import migrate, open_engine, reading, transaction
from broker.dispatch.tables import Membership, Role, Site
from broker.dispatch.web.bootstrap import set_admin
from broker.dispatch.web.rights import EVERYWHERE
from dashboards import grafana as boards_api
from dashboards.panels import Setup
from dashboards.push import Source, State, Wanted, plan, push
from dashboards.text import Language
from deploy.server import layout
from deploy.server.layout import Places, has_secret, keep_secret, secret
from deploy.server.make import make
from deploy.server.services import Grafana, Influx
from deploy.server.settings import ORG, ServerError, ServerSettings

TOKENS = {layout.INFLUX_DISPATCH: ("read", "write"), layout.INFLUX_GRAFANA: ("read",)}
"""Deleting old minutes counts as writing."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, or found done. key: below `server.setup` of the catalogues."""

    key: str
    fields: dict[str, object]


def database(folder: Path, settings: ServerSettings) -> Iterator[Step]:
    """Tables, and the sites of the settings. Raises SettingsError, DatabaseError, SQLAlchemyError."""
    engine = engine_of(folder)
    try:
        migrate(engine)
        yield Step("database", {})
        with transaction(engine) as session:
            there = set(session.scalars(select(Site.id)))
            new = [site for site in settings.sites if site not in there]
            for site in new:
                session.add(Site(id=site, name=site, language=settings.language, time_zone=settings.zone))
        if new:
            yield Step("sites", {"sites": ", ".join(new)})
    finally:
        engine.dispose()


def engine_of(folder: Path) -> Engine:
    file = dispatch_settings.load(folder / "dispatch/dispatch.yaml")
    return open_engine(file.database.get_secret_value())


def has_admin(folder: Path) -> bool:
    engine = engine_of(folder)
    try:
        with reading(engine) as session:
            asked = select(Membership.person).where(Membership.site == EVERYWHERE, Membership.role == Role.ADMIN.value)
            return session.scalar(asked.limit(1)) is not None
    finally:
        engine.dispose()


def admin(folder: Path, login: str, password: str, now: float) -> None:
    """The first administrator. Raises PasswordError."""
    engine = engine_of(folder)
    try:
        set_admin(engine, login, login, password, now)
    finally:
        engine.dispose()


def influx(folder: Path, settings: ServerSettings, places: Places, now: float) -> Iterator[Step]:
    """Organisation, bucket, mapping for InfluxQL, tokens by role; then dispatch's settings with its token."""
    url = f"http://{places.influx}"
    with Influx(url, secret(folder, "influx-admin")) as server:
        if server.onboard(secret(folder, "influx-admin"), secret(folder, "influx-password")):
            yield Step("influx_new", {"url": url})
        org = server.organisation()
        there = server.bucket(org)
        if there is None:
            bucket = server.make_bucket(org)
            yield Step("influx_bucket", {"bucket": ORG})
        else:
            bucket, kept_s = there
            if kept_s:
                server.keep_for_ever(bucket)
                yield Step("influx_kept", {"bucket": ORG, "days": kept_s // 86_400})
        if not server.is_mapped(org, bucket):
            server.map(org, bucket)
            yield Step("influx_mapped", {"bucket": ORG})
        for name, actions in TOKENS.items():
            if has_secret(folder, name) and server.knows(secret(folder, name)):
                continue
            keep_secret(folder, name, server.make_token(org, bucket, name.removeprefix("influx-"), actions))
            yield Step("influx_token", {"name": name})
    if make(folder, settings, now).changed:
        yield Step("dispatch", {})
    yield Step("influx", {"url": url})


def grafana_url(places: Places) -> str:
    return f"http://{places.grafana}/grafana"


def wanted(folder: Path, settings: ServerSettings, places: Places, *, secrets: bool = False) -> Wanted:
    """Boards, data source and rules as they should be in Grafana."""
    language: Language = "zh-CN" if settings.language == "zh-CN" else "en"
    source = Source(f"http://{places.influx}", ORG, secret(folder, layout.INFLUX_GRAFANA))
    return Wanted(language, Setup(dispatch=f"https://{settings.name}", zone=settings.zone), source, secrets=secrets)


def connected(folder: Path, places: Places) -> boards_api.Grafana:
    hidden = [secret(folder, layout.INFLUX_GRAFANA)]
    return boards_api.Grafana(grafana_url(places), secret(folder, layout.GRAFANA), secrets=hidden)


def grafana(
    folder: Path, settings: ServerSettings, places: Places, overwrite: Callable[[str], bool], *, secrets: bool
) -> Iterator[Step]:
    """Service account, then what `banksman dashboards push` pushes.

    overwrite: asked with the title of what somebody has changed by hand. secrets: InfluxDB's token is new. Raises
    ServerError, GrafanaError, PushError.
    """
    url = grafana_url(places)
    with Grafana(url, secret(folder, "grafana-admin")) as server:
        if not (has_secret(folder, layout.GRAFANA) and server.knows(secret(folder, layout.GRAFANA))):
            keep_secret(folder, layout.GRAFANA, server.make_token())
            yield Step("grafana_account", {})
    with connected(folder, places) as api:
        planned = plan(api, wanted(folder, settings, places, secrets=secrets))
        left = []
        written = 0
        for outcome in push(api, planned, lambda item, _: overwrite(item.title)):
            written += outcome.done and outcome.result not in ("same", "file")
            if not outcome.done:
                left.append(f"{outcome.item.title} ({outcome.result})")
        if left:
            raise ServerError(f"Grafana at {url}: not done: {', '.join(left)}; `banksman dashboards diff` says more")
        differs = any(found.state not in (State.SAME, State.FILE) for _, found in planned)
        yield Step("boards_written" if differs else "boards_same", {"url": url, "count": written})
