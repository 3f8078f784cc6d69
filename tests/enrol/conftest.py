"""Databases, as dispatch's tests have them."""

from tests.dispatch.conftest import both, migrated, postgres

__all__ = ["both", "migrated", "postgres"]
