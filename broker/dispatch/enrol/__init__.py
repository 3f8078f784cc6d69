"""Enrolment: a box gets the certificate of its node, and a token for InfluxDB, for a one-time token."""

from broker.dispatch.enrol.tokens import HOURS, TakenError, holders, new_token

__all__ = ["HOURS", "TakenError", "holders", "new_token"]
