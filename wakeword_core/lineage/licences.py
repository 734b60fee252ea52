"""What licences of recordings allow, as far as their names tell; no legal advice."""

import re
from typing import Literal

Permission = Literal["allowed", "not allowed", "unclear"]

NOT_STATED = "not stated"
"""How a recording without a licence is listed."""

_NON_COMMERCIAL = re.compile(r"\bNC\b|non.?commercial|research.?only|academic", re.IGNORECASE)
# SPDX names begin so; what is made from text here is named "synthetic" by its source
_OPEN = re.compile(
    r"(CC0|CC.?BY|PDDL|ODC.?BY|ODbL|CDLA|Apache|MIT|BSD|ISC|MPL|L?GPL|AGPL|Unlicense|0BSD|synthetic)\b"
    r"|.*public.?domain",
    re.IGNORECASE,
)
_CREDIT = re.compile(r"(CC.?BY|ODC.?BY|ODbL|Apache|MIT|BSD|ISC)\b", re.IGNORECASE)


def commercial_use(licence: str) -> Permission:
    """Whether recordings under `licence` may be used commercially; unclear without a name that is known."""
    if _NON_COMMERCIAL.search(licence):
        return "not allowed"
    return "allowed" if _OPEN.match(licence) else "unclear"


def wants_credit(licence: str) -> bool:
    """Whether `licence` asks that its authors be named."""
    return bool(_CREDIT.match(licence))


def mix_of(licences: set[str]) -> Permission:
    """What all of the licences allow together: the least of them; unclear when there are none."""
    found = {commercial_use(one) for one in licences}
    if "not allowed" in found:
        return "not allowed"
    return "allowed" if found == {"allowed"} else "unclear"
