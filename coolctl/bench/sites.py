"""Sites of other sizes than those that ship: the default site with its hall cut into many, or with many racks."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from coolctl.paths import shared_folder
from coolctl.site import Site, load_site


def default_text() -> str:
    """The text of the site that ships as the default."""
    return (shared_folder("config") / "sites" / "hall1mw.toml").read_text(encoding="utf-8")


def default_site() -> Site:
    """The site that ships as the default."""
    return load_site(str(shared_folder("config") / "sites" / "hall1mw.toml"))


def with_halls(text: str, halls: int, racks: int) -> str:
    """The default site with its hall cut into `halls` equal ones of `racks` racks each."""
    begin, end = text.index("[[halls]]"), text.index("[chillers]")
    hall = text[begin:end].replace("racks = 32", f"racks = {racks}").replace("crahs = 10", f"crahs = {max(2, -(-10 // halls))}")
    hall = hall.replace("= 1e6", f"= {1e6 / halls:g}").replace("= 15e3", f"= {15e3 / halls:g}")
    text = text[:begin] + "".join(hall.replace('"hall1"', f'"hall{k + 1}"') for k in range(halls)) + text[end:]
    head, *rows = re.split(r"(?=\[\[points\]\])", text)
    each = [[row.replace("hall1", f"hall{k + 1}") for k in range(halls)] if '"hall1' in row else [row] for row in rows]
    return head + "\n".join(row for group in each for row in group)


def with_racks(racks: int) -> str:
    """The text of the default site with `racks` racks in its hall."""
    return default_text().replace("racks = 32", f"racks = {racks}")


def of_text(text: str) -> Site:
    """A site from text; its equipment records are those that ship."""
    with tempfile.TemporaryDirectory(prefix="coolctl-bench-") as folder:
        path = Path(folder) / "site.toml"
        path.write_text(text, encoding="utf-8")
        return load_site(path)


def of_points(points: int) -> str:
    """The text of a site with about `points` points: racks in the default hall, cut so that none has over 1,000."""
    halls = max(1, round(points / 1_000))
    return with_halls(default_text(), halls, (points - 40) // halls - 12) if halls > 1 else with_racks(points - 45)
