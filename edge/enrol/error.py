"""Why a box is not its node yet."""

from __future__ import annotations


class EnrolError(Exception):
    """key: of the catalogue (`enrol.…`), with its fields, of which none is a secret.

    later: asking again may help; else a person must do something.
    """

    def __init__(self, key: str, *, later: bool = False, **fields: object) -> None:
        super().__init__(f"{key} {fields}" if fields else key)
        self.key = key
        self.fields = fields
        self.later = later
