"""What a recording's path says of it: its speaker or its label, by a rule of its source."""

import re


def told_by(rule: str, group: str, path: str) -> str | None:
    """What `rule` reads off a relative path, or None when it says nothing about this one.

    Rules: parent (folder name), folder:N (Nth folder from the top, or from the file when negative), and regex:... with
    a group named `group`.
    """
    if rule.startswith("regex:"):
        match = re.search(rule.removeprefix("regex:"), path)
        return (match[group] or None) if match else None
    if rule == "parent":
        return path.rpartition("/")[0].rpartition("/")[2] or None
    if rule.startswith("folder:"):
        folders, place = path.split("/")[:-1], int(rule.removeprefix("folder:"))
        if abs(place) > len(folders):
            return None
        return folders[place - 1 if place > 0 else place]
    return None
