"""The site's Wi-Fi as NetworkManager keeps it: a file that `install.sh` puts in place and wipes from the card."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deploy.card.errors import CardError


@dataclass(frozen=True, slots=True)
class Wifi:
    """password: empty for an open network. country: two letters, by which the radio obeys the law."""

    ssid: str
    password: str
    country: str

    def __post_init__(self) -> None:
        """Raises CardError."""
        if not 1 <= len(self.ssid.encode()) <= 32:
            raise CardError("wifi.ssid")
        if self.password and not re.fullmatch(r"[\x20-\x7e]{8,63}", self.password):  # IEEE 802.11-2020, J.4.1
            raise CardError("wifi.password")
        if not re.fullmatch(r"[A-Z]{2}", self.country):
            raise CardError("wifi.country")

    def connection(self) -> bytes:
        """A keyfile of NetworkManager (nm-settings-keyfile(5))."""
        ssid = "".join(f"{byte};" for byte in self.ssid.encode())  # as bytes nothing in it needs an escape
        lines = ["[connection]", "id=banksman", "type=wifi", "", "[wifi]", "mode=infrastructure", f"ssid={ssid}", ""]
        if self.password:
            secret = re.sub(r"^ +| +$", lambda spaces: r"\s" * len(spaces[0]), self.password.replace("\\", r"\\"))
            lines += ["[wifi-security]", "key-mgmt=wpa-psk", f"psk={secret}", ""]
        lines += ["[ipv4]", "method=auto", "", "[ipv6]", "method=auto", ""]
        return "\n".join(lines).encode()
