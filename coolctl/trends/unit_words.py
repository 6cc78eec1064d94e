"""How trend logs spell units, and the unit meant: in a row under the header, in brackets, or at the end of a name."""

from __future__ import annotations

import re

SPELLED: dict[str, tuple[str, ...]] = {
    "degC": ("°c", "degc", "c", "celsius", "deg c", "℃", "degrees celsius", "degrees-celsius", "grad c", "oc"),
    "degF": ("°f", "degf", "f", "fahrenheit", "deg f", "℉", "degrees fahrenheit", "degrees-fahrenheit"),
    "degK": ("degk", "kelvin"),
    "K": ("k", "δk", "delta k"),
    "deltaF": ("δ°f", "delta f", "deltaf", "delta deg f"),
    "deltaC": ("δ°c", "deltac", "delta deg c"),
    "W": ("w", "watt", "watts"),
    "kW": ("kw", "kwe", "kwth", "kilowatt", "kilowatts", "kw-e"),
    "MW": ("mw", "megawatt", "megawatts"),
    "ton": ("ton", "tons", "tr", "rt", "tons refrigeration", "refrigeration tons", "usrt", "tonref", "tons of refrigeration"),
    "Btu/h": ("btu/h", "btuh", "btu/hr", "btus per hour"),
    "kBtu/h": ("kbtu/h", "mbh", "kbtuh", "kbtu/hr"),
    "hp": ("hp", "horsepower"),
    "J": ("j", "joule", "joules"),
    "kWh": ("kwh", "kw-h", "kilowatt hours", "kilowatt-hours"),
    "kg/s": ("kg/s", "kgs", "kg per s"),
    "L/s": ("l/s", "lps", "ls", "liters per second", "litres per second", "liters-per-second", "l/sec"),
    "L/min": ("l/min", "lpm", "l/m", "liters per minute", "litres per minute", "liters-per-minute"),
    "L/h": ("l/h", "lph", "l/hr"),
    "m3/h": ("m3/h", "m³/h", "cmh", "m3h", "m^3/h", "m3/hr", "cubic meters per hour", "cubic-meters-per-hour"),
    "gpm": ("gpm", "us gpm", "usgpm", "gal/min", "us gal/min", "gallons per minute", "us-gallons-per-minute"),
    "m3/s": ("m3/s", "m³/s", "m^3/s", "cubic meters per second"),
    "cfm": ("cfm", "ft3/min", "cubic feet per minute", "scfm"),
    "Pa": ("pa", "pascal", "pascals"),
    "kPa": ("kpa", "kpag", "kilopascal", "kilopascals", "kpa(g)"),
    "hPa": ("hpa",),
    "mbar": ("mbar", "millibar", "millibars"),
    "bar": ("bar", "barg", "bars", "bar(g)"),
    "psi": ("psi", "psig", "psid", "lb/in2", "pounds per square inch"),
    "inWC": ("inwc", "in wc", "in.w.c.", "in w.c.", "inh2o", "in h2o", "in.wc", "\"wc", "\" wc", "iwc", "inches of water"),
    "ftH2O": ("fth2o", "ft h2o", "ft wc", "ftwc", "ft w.c.", "ft hd", "feet of water"),
    "mH2O": ("mh2o", "m h2o", "mwc", "mws", "m wc"),
    "%": ("%", "pct", "percent", "%rh", "% rh", "prc", "% open", "%open"),
    "ratio": ("ratio", "fraction", "0-1", "p.u.", "pu"),
    "count": ("count", "number", "nr", "qty"),
    "bool": ("bool", "boolean", "on/off", "binary", "0/1", "flag", "true/false", "digital"),
    "s": ("s", "sec", "second", "seconds"),
    "min": ("min", "minute", "minutes"),
}  # fmt: skip
UNIT_OF = {word: unit for unit, spelled in SPELLED.items() for word in spelled}
OTHER = ("hz", "a", "amp", "amps", "ampere", "v", "volt", "volts", "rpm", "kvar", "kva", "g/kg", "gr/lb", "ppm", "lux", "h",
         "hr", "hours", "kj/kg", "btu/lb", "pf", "m/s", "fpm", "mm", "text", "enum", "state", "no units",
         "none", "m3", "gal")  # fmt: skip
"""Units that are one, though coolctl has no quantity for them."""
# Endings of names that are a unit beyond doubt; a lone `c` or `f` counts only after an underscore.
ENDINGS = ("degc", "degf", "kw", "mw", "kwh", "lps", "lpm", "gpm", "cfm", "kpa", "psi", "pct", "percent", "tons", "inwc", "cmh")
_BRACKET = re.compile(r"[\[(]\s*([^\[\]()]*(?:\([a-z]\))?)\s*[\])]\s*$")


def unit_of(text: str) -> str:
    """The coolctl unit that a spelling means, or nothing."""
    word = text.strip().strip("[]()").strip().casefold()
    return UNIT_OF.get(word, "") or UNIT_OF.get(word.replace(" ", ""), "")


def is_unit(text: str) -> bool:
    """Whether a cell is a unit, known here or not."""
    word = text.strip().strip("[]()").strip().casefold()
    return bool(unit_of(text)) or word in OTHER


def unit_in_name(name: str) -> tuple[str, str]:
    """Unit and why, from brackets behind a name or its ending; two empty strings where there is none."""
    if (match := _BRACKET.search(name)) and (unit := unit_of(match.group(1))):
        return unit, f"[{match.group(1)}] in the header"
    words = [w for w in re.split(r"[_\s.\-/]", name.strip().casefold()) if w not in ("raw", "avg", "mean", "value", "val", "pv")]
    last = words[-1] if words else ""
    if last in ENDINGS or ("_" in name and last in ("c", "f", "k", "w", "pa", "bar")):
        return UNIT_OF.get(last, ""), f"the name ends in {last}"
    return "", ""


def bare_name(name: str) -> str:
    """A column's name without the unit in brackets behind it."""
    match = _BRACKET.search(name)
    return name[: match.start()].strip() if match and is_unit(match.group(1)) else name.strip()
