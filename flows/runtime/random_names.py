"""Names of flow runs that no person has chosen: Prefect's server makes one up, and the form of its UI another kind.

The form sends such a name as it sends one that was typed, so that they can only be told apart by their words.
"""

import functools
import itertools
import re
from pathlib import Path

import prefect

#: What the form begins its names with, a number behind it or not.
GREEK = re.compile(
    r"(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|tau|upsilon|phi|chi"
    r"|psi|omega)\d*-(?P<star>.+)"
)

#: The list of stars and constellations in the form's program, from its first one on.
STARS = re.compile(rb"`(andromedae\.[a-z.-]+)`")


def is_random(name: str) -> bool:
    """Whether a name is one that Prefect has made up, such as `classic-bullfinch` or `alpha2-andromedae-void`."""
    words = name.split("-")
    if len(words) == 2 and server_words().issuperset(words):
        return True
    greek = GREEK.fullmatch(name)
    return greek is not None and bool(form_stars() & {greek["star"], greek["star"].rpartition("-")[0]})


@functools.cache
def server_words() -> frozenset[str]:
    """The words that the server makes names of."""
    from coolname.data import config

    lists = (part["words"] for part in config.values() if isinstance(part, dict) and part.get("type") == "words")
    return frozenset(itertools.chain.from_iterable(lists))


@functools.cache
def form_stars() -> frozenset[str]:
    """The stars and constellations that the form makes names of; none where its program is not as expected."""
    programs = Path(prefect.__ui_static_path__, "assets").glob("index-*.js")
    found = (STARS.search(program.read_bytes()) for program in programs)
    return frozenset(star for match in found if match for star in match[1].decode().split(".") if star)
