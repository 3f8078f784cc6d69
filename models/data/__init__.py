"""Labelled photos: read and merged from their sources, counted, looked at, exchanged with other tools."""

from models.data.labels import CLASSES, Boxes, DataError, Photo
from models.data.labelset import read_set, write_set
from models.data.merge import merge

__all__ = ["CLASSES", "Boxes", "DataError", "Photo", "merge", "read_set", "write_set"]
