"""Every cause has a text and an advice, in each language."""

from __future__ import annotations

import pytest

from edge.text import LANGUAGES, catalogue
from edge.uplink.link import LinkCause


@pytest.mark.parametrize("language", LANGUAGES)
def test_causes_have_words(language: str) -> None:
    texts = catalogue(language).texts
    wanted = {f"mqtt.{what}.{cause}" for what in ("cause", "do") for cause in LinkCause}
    assert {key for key in texts if key.startswith("mqtt.")} == wanted
    assert all(catalogue(language)(key) for key in wanted)
