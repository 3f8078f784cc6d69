"""A sheet as a short text, plain text, Markdown and HTML. What is in a sheet is harmless already (`words.harmless`)."""

from __future__ import annotations

from html import escape

from broker.dispatch.notify.message import Sheet

COLOURS = {"critical": "#b3001b", "warning": "#a35200", "info": "#1f5a99", "calm": "#2e6b34"}
"""Dark enough for white text on them (WCAG AA)."""
MAX_SHORT = 120
"""Characters of a short text before its link: two parts of an SMS with Chinese in it."""


def short(sheet: Sheet) -> str:
    """One line and the link, for SMS."""
    title = sheet.title if len(sheet.title) <= MAX_SHORT else sheet.title[: MAX_SHORT - 1] + "…"
    return f"{title} {sheet.link}" if sheet.link else title


def plain(sheet: Sheet) -> str:
    """All but the title, without markup."""
    parts = []
    for block in sheet.blocks:
        head = [f"{block.heading}:"] if block.heading else []
        parts.append("\n".join(head + [f"- {line}" if block.bullets else line for line in block.lines]))
    if sheet.link:
        parts.append(f"{sheet.link_word}: {sheet.link}")
    return "\n\n".join([*parts, sheet.sender])


def markdown(sheet: Sheet, limit: int) -> str:
    """All with its title, in the Markdown that DingTalk and WeCom share, at most `limit` bytes of UTF-8.

    Lines end with two spaces: DingTalk otherwise joins them. What is too long loses its lines from the end, never its
    title or its link.
    """
    body: list[str] = []
    for block in sheet.blocks:
        if body:
            body.append("")  # else a line after a list belongs to its last entry
        if block.heading:
            body.append(f"**{block.heading}**")
        body += [f"- {line}" if block.bullets else f"> {line}  " for line in block.lines]
    tail = [f"[{sheet.link_word}]({sheet.link})", sheet.sender] if sheet.link else [sheet.sender]
    while True:
        text = "\n".join([f"### {sheet.title}", "", *body, "", *"\n\n".join(tail).split("\n")])
        if len(text.encode()) <= limit or not body:
            return text
        body.pop()


def html(sheet: Sheet) -> str:
    """A page for e-mail: inline styles only, no picture from elsewhere."""
    rows = []
    for block in sheet.blocks:
        if block.heading:
            rows.append(f"<h2 style='font-size:16px;margin:16px 0 4px'>{escape(block.heading)}</h2>")
        if block.bullets:
            items = "".join(f"<li style='margin:4px 0'>{escape(line)}</li>" for line in block.lines)
            rows.append(f"<ul style='margin:4px 0;padding-left:20px'>{items}</ul>")
        else:
            rows += [f"<p style='margin:6px 0'>{escape(line)}</p>" for line in block.lines]
    colour = COLOURS[sheet.tone]
    button = ""
    if sheet.link:
        button = (
            f"<p style='margin:20px 0'><a href='{escape(sheet.link)}' style='background:{colour};color:#fff;"
            "padding:14px 22px;border-radius:6px;text-decoration:none;font-weight:bold'>"
            f"{escape(sheet.link_word)}</a></p>"
        )
    return (
        "<!doctype html><html><body style='font-family:sans-serif;font-size:16px;color:#111;max-width:600px'>"
        f"<h1 style='font-size:20px;background:{colour};color:#fff;padding:12px;margin:0 0 12px'>"
        f"{escape(sheet.title)}</h1>{''.join(rows)}{button}"
        f"<p style='color:#555;font-size:13px'>{escape(sheet.sender)}</p></body></html>"
    )
