"""Enrolment: a box gets the certificate of its node, and a token for InfluxDB, for a one-time token."""

from broker.dispatch.enrol.tokens import HOURS, new_token

__all__ = ["HOURS", "new_token"]
