"""What makes Raspberry Pi OS run `install.sh` at first boot, by what the boot partition of an image brings.

cloud-init where it has `user-data` and `meta-data`, rpi-preseed where it has `rpi-preseed.toml` (a prototype in 2026),
both where it has both: the script minds no second call. Else the way of every system with systemd, a command in
`cmdline.txt`. What an earlier card or Raspberry Pi Imager had written there for itself gives way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from deploy.card.errors import CardError
from deploy.card.tree import Tree

SCRIPT = "/boot/firmware/banksman/install.sh"
CMDLINE = "cmdline.txt"
# bootcmd, because it is run at each boot: the marks that keep other steps from a second run are set before the first.
USER_DATA = f"""\
#cloud-config
# Made by Banksman. All that happens is in {SCRIPT}.
bootcmd:
  - [/bin/bash, {SCRIPT}]
""".encode()
PRESEED = f"""\
# Made by Banksman. All that happens is in {SCRIPT}.
config_version = "1.1"

[runcmd]
early = ["/bin/bash {SCRIPT}"]
""".encode()
_OURS = re.compile(r"ds=nocloud;|systemd\.(run[a-z_]*|unit)=|cfg80211\.ieee80211_regdom=|cgroup_enable=memory$")


def meta_data(instance: str, host: str) -> bytes:
    return f"dsmode: local\ninstance-id: {instance}\nlocal-hostname: {host}\n".encode()


def cmdline(before: bytes, *more: str) -> bytes:
    """The kernel's command line with these words at its end, instead of those that such a card had before.

    Raises CardError where there is no command line.
    """
    try:
        words = before.decode("ascii").split()
    except UnicodeDecodeError as error:
        raise CardError("boot.cmdline") from error
    if not any(word.startswith("root=") for word in words):
        raise CardError("boot.cmdline")
    return " ".join([*(word for word in words if not _OURS.match(word)), *more]).encode() + b"\n"


def hooks(tree: Tree, instance: str, host: str, country: str | None) -> Mapping[str, bytes]:
    """Files in the order in which they are to be written. Raises CardError where this is no Raspberry Pi OS."""
    if not tree.exists(CMDLINE) or not tree.exists("config.txt"):
        raise CardError("boot.not_pi")
    more = ["cgroup_enable=memory"]  # the firmware switches limits of memory off
    if country is not None:
        more.append(f"cfg80211.ieee80211_regdom={country}")
    files: dict[str, bytes] = {}
    if tree.exists("user-data") and tree.exists("meta-data"):
        files |= {"user-data": USER_DATA, "meta-data": meta_data(instance, host)}
        more.append(f"ds=nocloud;i={instance}")
    if tree.exists("rpi-preseed.toml"):
        files["rpi-preseed.toml"] = PRESEED
    if not files:
        more += [f"systemd.run={SCRIPT}", "systemd.run_success_action=reboot"]
        more += ["systemd.run_failure_action=reboot", "systemd.unit=kernel-command-line.target"]
    return files | {CMDLINE: cmdline(tree.read(CMDLINE), *more)}
