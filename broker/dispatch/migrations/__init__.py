"""Alembic migrations, forwards only: the way back is the backup.

A new one: change `tables.py`, then `python -m broker.dispatch.migrations "what changes"`, and look it over.
"""
