"""What a column probably is, from its name: the trade's abbreviations and words for each role, with the reason said."""

from __future__ import annotations

import re
from typing import NamedTuple

from coolctl.trends.unit_words import bare_name

# The first that fits counts: what is special stands before what is general. Names are lower case, words apart by blanks.
PATTERNS: tuple[tuple[str, str], ...] = (
    ("chwst_sp", r"\b(lcw|chws?t?|chw ?s|chilled water|leaving chilled)\b.*\b(sp|set ?point|stpt|setpt)\b"),
    ("chw_dp_sp", r"\bchw.*\b(dp|diff).*\b(sp|set ?point|stpt)\b"),
    ("cwst_sp", r"\b(cw|cws|cwst|tower|condenser water)\b.*\b(sp|set ?point|stpt)\b"),
    ("sat_sp", r"\b(sat|supply air|discharge air)\b.*\b(sp|set ?point|stpt)\b"),
    ("fan_speed_sp", r"\b(crah|crac|ahu) .*fan.*\b(sp|set ?point|cmd|command)\b"),
    ("energy_price", r"\b(energy|electricity) price\b|\btariff\b"),
    ("room_dewpoint", r"\b(room|hall|aisle).*dew ?point\b|\bdew ?point\b"),
    ("oawb", r"\b(oawb|oa wb|twb|wet ?bulb|wb t(emp)?)\b"),
    ("oadb", r"\b(oat|oadb|oa t(emp)?|outdoor|outside|ambient|dry ?bulb)\b"),
    ("rack_inlet", r"\b(rack|cold aisle|inlet)\b.*\b(in|inlet|t|temp|temperature)\b"),
    ("aisle_dp", r"\b(aisle|plenum|under ?floor|room)\b.*\b(dp|diff|pressure|static)\b"),
    ("valve", r"\b(valve|vlv|cwv|chwv)\b"),
    ("crah_fan_power", r"\b(crah|crac|ahu)\w*\b.*\bfan.*\b(kw|power|w)\b"),
    ("crah_fan_speed", r"\b(crah|crac|ahu)\w*\b.*\b(fan|vfd|speed)\b"),
    ("server_fan_power", r"\bserver fan.*\b(kw|power)\b"),
    ("it_power", r"\bit\b.*\b(kw|power|load)\b|\b(pdu|ups|server)\b.*\b(kw|power|load)\b"),
    ("chw_pump_power", r"\b(chw|chwp|pchw|chilled water|primary|secondary)\b.*\bpumps?\b.*\b(kw|power)\b"
                       r"|\bchwp\d*\b.*\b(kw|power)\b"),
    ("cw_pump_power", r"\b(cw|cdw|condenser( water)?)\b.*\bpumps?\b.*\b(kw|power)\b|\bcwp\d*\b.*\b(kw|power)\b"),
    ("tower_speed", r"\b(tower|ct ?\d*|cell|t\d[ab]?)\b.*\b(pct|percent|speed|vfd|hz)\b|\btower fan [ab\d]+\b(?!.*\bkw\b)"),
    ("tower_power", r"\b(tower|ct ?\d*|cell)\b.*\b(kw|power)\b|^fan [ab\d]+ kw$"),
    ("chw_dp", r"\b(chw|chilled water)\b.*\b(dp|diff(erential)? press\w*)\b"),
    ("chw_flow", r"\b(chw\w*|chilled water|evap\w*|pchw)\b.*\b(flow|gpm|lps)\b"),
    ("cw_flow", r"\b(cw\w*|cdw\w*|cond\w*|condenser water)\b.*\b(flow|gpm|lps)\b"),
    ("chwst", r"\b(p?chw ?st?|chws|chwst|lchwt|lcwt|chw out|chws temp)\b"
              r"|\b(chw|chilled water|evap\w*)\b.*\b(supply|leaving|lvg|out)\b"
              r"|\bleaving (chilled|evap)"),
    ("chwrt", r"\b(p?chw ?rt?|chwr|chwrt|echwt|ecwt evap|chw in)\b"
              r"|\b(chw|chilled water|evap\w*)\b.*\b(return|entering|ent|in)\b"
              r"|\bentering (chilled|evap)"),
    ("cwst", r"\b(c[dt]?w ?st?|cdws|cdwst|cws|cwst|ecdwt|ecwt|cd?w in|tower leaving)\b"
             r"|\b(condenser|cond|cd?w)( water)?\b.*\b(supply|entering|ent|in)\b"
             r"|\btower\b.*\b(leaving|out|supply)\b"),
    ("cwrt", r"\b(c[dt]?w ?rt?|cdwr|cdwrt|cwr|cwrt|lcdwt|cd?w out|tower entering)\b"
             r"|\b(condenser|cond|cd?w)( water)?\b.*\b(return|leaving|lvg|out)\b"
             r"|\btower\b.*\b(entering|in|return)\b"),
    ("sat", r"\b(sat|supply air|discharge air|dat)\b"),
    ("rat", r"\b(rat|return air)\b"),
    ("chiller_power", r"\b(chiller|ch|chlr|comp\w*)\s*\d*\b.*\b(kw|power|demand)\b|\bdemand (kilowatts|kw)\b|\bkilowatts\b"),
    ("tower_cells_on", r"\b(tower|ct|cell)\b.*\b(on|status|running|cells)\b"),
    ("chillers_on", r"\b(chiller|ch|chlr)\s*\d*\b.*\b(on|status|run|running|enable|start)\b|^(run )?status$"),
    ("economizer_on", r"\b(economi[sz]er|wse|free cooling)\b.*\b(on|status|mode|enable)?\b"),
    ("hand", r"\b(hand|manual|override)\b"),
)  # fmt: skip
# Not roles of a plant, but quantities that the checks can use or must not take for something else.
NOT_A_ROLE = re.compile(
    r"\b(refrigerant|oil|winding|bearing|brg|discharge temp|suction|guide vane|diffuser|current|voltage|amps|approach|"
    r"alarm|fault|runtime|hours|rh|humidity|enthalpy|superheat|subcool\w*|sump)\b"
)
# What a role is measured in when the log does not say: only where one unit is usual on this scale.
TEMPERATURE_ROLES = {
    "chwst",
    "chwrt",
    "cwst",
    "cwrt",
    "sat",
    "rat",
    "oadb",
    "oawb",
    "rack_inlet",
    "room_dewpoint",
    "chwst_sp",
    "cwst_sp",
    "sat_sp",
}
_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")


class Guess(NamedTuple):
    """A role, or none, and why."""

    role: str
    why: str


def plain(name: str) -> str:
    """A name in lower case with blanks between its words: `CHW_Supply-Temp` is `chw supply temp`."""
    text = _CAMEL.sub(" ", bare_name(name)).casefold()
    return re.sub(r"[\s_\-./:\\|]+", " ", text).strip()


def role_of(name: str) -> Guess:
    """The role that a column's name speaks of."""
    text = plain(name)
    if match := NOT_A_ROLE.search(text):
        return Guess("", f"{match.group(0)!r} in the name is no role of coolctl's; checked, not recorded")
    for role, pattern in PATTERNS:
        if match := re.search(pattern, text):
            return Guess(role, f"{match.group(0).strip()!r} in the name")
    return Guess("", "the name says nothing that is known here")
