"""What dispatch counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

EVENTS = Counter("dispatch_events", "Alarm events, by what became of them.", ["outcome"])
"""stored, stale (stored, but older than what its case knew), duplicate."""
REFUSED = Counter("dispatch_refused", "Messages that could not be read or stored.", ["code"])
STORE_SECONDS = Histogram("dispatch_store_seconds", "From receipt of an event to its commit.", buckets=_SECONDS)
BATCH = Histogram("dispatch_batch_messages", "Messages in a transaction.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500))
QUEUE = Gauge("dispatch_queue_messages", "Received messages that wait to be stored.")
OVERFLOWN = Counter(
    "dispatch_queue_overflown",
    "QoS 1 messages that found the queue full; the worker connects anew, and the broker brings them again.",
)
DROPPED = Counter("dispatch_queue_dropped", "QoS 0 messages that found the queue full.")
CONNECTED = Gauge("dispatch_broker_connected", "1 while this worker is connected to the broker.")
ACK_FAILED = Counter("dispatch_acks_unsent", "Acks to nodes that the broker did not take; the node sends again.")
JOBS = Counter("dispatch_jobs", "Jobs by kind and outcome: done, retried, given_up.", ["kind", "outcome"])
PUBLISHED = Counter("dispatch_cases_published", "Retained case topics written or emptied.")
POINTS = Counter("dispatch_points", "Points for InfluxDB: written, dropped.", ["outcome"])
CERTIFICATES = Gauge(
    "dispatch_certificates_expiring",
    "Certificates that end within 30 days and are no node's: server, services, authority.",
)
SILENT = Gauge("dispatch_nodes_silent", "Nodes that are silent.")
MESSAGES = Counter(
    "dispatch_messages", "Messages to people by channel and outcome: sent, failed, given_up.", ["channel", "outcome"]
)
