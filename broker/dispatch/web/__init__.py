"""Dispatch for people: pages, JSON, and the door for the nodes' evidence."""
