"""What stops the making of a card, in words for the installer."""

from __future__ import annotations

from deploy.text import catalogue


class CardError(Exception):
    """`told` says what is wrong and what to do. code: below `card` of the catalogues, as `fat.full`."""

    def __init__(self, code: str, /, **fields: object) -> None:
        self.code, self.fields = code, fields
        super().__init__(self.told("en"))

    def told(self, language: str) -> str:
        return catalogue(language)(f"card.{self.code}", **self.fields)
