"""Labelled photos: read and merged from their sources, counted, looked at, exchanged with other tools.

    labels       what a labelled photo is; the classes; YOLO text
    sources      what each source calls its classes, and for which it is complete
    heads        one meaning of helmet and bare head
    street       own labels of what stands on the street
    nobody       photos in which the eye sees nobody
    frames       of the drives, as photos
    merge        all sources as one set; the `val` split
    labelset     the set on disk
    report, review, interchange, pseudo
    hard         hard cases made out of good photos, while training
    masking      what is not labelled teaches nothing, while training (needs torch)

`banksman model data --help` for the commands.
"""

from models.data.labels import CLASSES, Boxes, DataError, Photo
from models.data.labelset import read_set, write_set
from models.data.merge import merge

__all__ = ["CLASSES", "Boxes", "DataError", "Photo", "merge", "read_set", "write_set"]
