"""An MQTT 5 broker for trying things out: `iotcore` as a child process, on loopback, anonymous, nothing kept.

It has neither access rules nor a session that outlives it; production uses Mosquitto.
"""

from __future__ import annotations

import importlib.util
import logging
import secrets
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from broker.messages import MAX_PACKET

if TYPE_CHECKING:
    from iotcore import Broker

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0
_PORTS = range(20_000, 32_768)
"""Below what Linux (32768 on) and others give to outgoing connections."""

# rumqttd's configuration. The listener speaks version 5 only: its "v4" listeners would refuse the node's CONNECT.
_CONFIG = """
id = 0

[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10

[v5.1]
name = "v5"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 10000
max_payload_size = {max_packet}
max_inflight_count = 100
dynamic_filters = true
"""


class EmbeddedBrokerError(Exception):
    """The embedded broker cannot be started; the text says why and what to do."""


def free_port() -> int:
    """A TCP port that nobody listens on now. Raises OSError where none is found.

    Not one of those that the system gives to outgoing connections: one of these could take it before it is used.
    """
    for _ in range(100):
        port = secrets.choice(_PORTS)
        try:
            with socket.create_server((HOST, port)):
                return port
        except OSError:  # somebody has it
            continue
    raise OSError(f"no free port among a hundred from {_PORTS.start} to {_PORTS.stop - 1}")


class EmbeddedBroker:
    """port: 0 for any free one. The broker ends with `stop`, or when this program ends, however it ends."""

    def __init__(self, port: int = 0) -> None:
        self._wanted_port = port
        self._broker: Broker | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not run."""
        return self._port

    def start(self) -> None:
        """Start it and wait until it listens. Raises EmbeddedBrokerError."""
        if self._broker is not None:
            return
        if importlib.util.find_spec("iotcore") is None:
            raise EmbeddedBrokerError(
                "the embedded broker needs the package iotcore: pip install 'banksman[demo]'; "
                "or name a Mosquitto under uplinks.mqtt in the site file"
            )
        from iotcore import Broker  # noqa: PLC0415 belongs to the demo extra; a node has it not

        port = self._wanted_port or free_port()
        with tempfile.TemporaryDirectory(prefix="banksman-broker-") as folder:
            config = Path(folder) / "broker.toml"
            config.write_text(_CONFIG.format(host=HOST, port=port, max_packet=MAX_PACKET), encoding="utf-8")
            broker = Broker(config_path=str(config))
            try:
                broker.start(timeout=START_TIMEOUT_S)
            except (OSError, RuntimeError) as error:
                raise EmbeddedBrokerError(
                    f"the embedded broker cannot listen on {HOST}:{port}: {error}; choose another port"
                ) from error
        self._broker, self._port = broker, port
        log.info("embedded broker on %s:%d", HOST, port)

    def stop(self) -> None:
        """End it; safe to call twice."""
        if self._broker is not None:
            self._broker.stop()
        self._broker, self._port = None, 0

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
