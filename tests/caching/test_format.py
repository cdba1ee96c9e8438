"""The cache's own code stands in every key as one number, which is raised by hand when that makes other bytes."""

import hashlib
import json

from flows.train import pipeline
from tasks.caching.code.fingerprint import fingerprint
from tasks.caching.key import settings_classes
from tasks.caching.stage import FORMAT, StageContext, stages

#: FORMAT, and the cache's code when somebody last looked whether it makes the same bytes.
LOOKED_AT = (2, "8268b6fe778a3210")


def code_of_the_cache() -> dict[str, str]:
    """The code of the cache that stages reach: by what they call of it, and through their desks."""
    roots = [
        (StageContext.__module__, StageContext.__name__, dict[str, frozenset[str]]()),
        *(
            (stage.function.__module__, stage.function.__qualname__, settings_classes(stage.config_type))
            for stage in stages(pipeline)
        ),
    ]
    places: dict[str, str] = {}
    for module, name, settings in roots:
        # The cache itself imports by a finder of its own, which would be refused.
        places |= fingerprint(module, name, settings=settings, loads=["tasks"], machinery="")
    return {place: digest for place, digest in places.items() if place.startswith("tasks/caching/")}


def test_somebody_has_looked_at_the_code_of_the_cache() -> None:
    places = code_of_the_cache()
    assert {
        f"tasks/caching/{place}"
        for place in ("storage/store.py: Store", "runs/manifest.py: Manifest", "runs/sums.py: list_sums")
    } <= (places.keys())
    found = hashlib.sha256(json.dumps(places, sort_keys=True).encode()).hexdigest()[:16]
    assert (FORMAT, found) == LOOKED_AT, (
        "The code of tasks/caching has changed. If a stage now publishes other bytes of the same settings, inputs and "
        "code, raise FORMAT in tasks/caching/stage.py. In any case, put both values here."
    )
