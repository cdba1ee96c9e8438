"""Files as accidents and attackers leave them: valid ones with something changed, each by a seed of its own."""

import copy
import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

#: Numbers at which readers that count, allocate or sign go wrong.
NUMBERS = (0, 1, -1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)

#: Values of every type of JSON, some of them monstrous.
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 5000,
    "../../../etc/passwd",
    "\0\x1b[2J\u202e",
    [],
    [[]] * 50,
    {},
    {"": {"": {}}},
)

Bytes = Callable[[bytes, random.Random], bytes]


def place_in(data: bytes, chance: random.Random) -> int:
    """An offset in a file."""
    return chance.randrange(len(data) + 1)


def with_flipped_bit(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncated(data: bytes, chance: random.Random) -> bytes:
    return data[: place_in(data, chance)]


def without_a_part(data: bytes, chance: random.Random) -> bytes:
    start = place_in(data, chance)
    return data[:start] + data[start + chance.randrange(1, 64) :]


def with_a_part_twice(data: bytes, chance: random.Random) -> bytes:
    start = place_in(data, chance)
    stop = start + chance.randrange(1, 256)
    return data[:stop] + data[start:]


def with_noise(data: bytes, chance: random.Random) -> bytes:
    start = place_in(data, chance)
    return data[:start] + chance.randbytes(chance.randrange(1, 32)) + data[start:]


def with_a_number(data: bytes, chance: random.Random) -> bytes:
    start, form = place_in(data, chance), chance.choice(("<q", ">q", "<i", "<h"))
    size = struct.calcsize(form)
    packed = (chance.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(size, "big" if form[0] == ">" else "little")
    return data[:start] + packed + data[start + size :]


BYTES: Sequence[Bytes] = (
    with_flipped_bit,
    truncated,
    without_a_part,
    with_a_part_twice,
    with_noise,
    with_a_number,
)


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """A file with up to four changes; one in ten goes on as another file does."""
    for _ in range(chance.randrange(1, 5)):
        data = chance.choice(BYTES)(data, chance)
    if chance.random() < 0.1:
        data = data[: place_in(data, chance)] + other[place_in(other, chance) :]
    return data


def mutated_json(data: bytes, chance: random.Random) -> bytes:
    """A JSON object with another value somewhere, without one, or with one more."""
    content = json.loads(data)
    for _ in range(chance.randrange(1, 4)):
        parent, key = somewhere(content, chance)
        what = chance.randrange(3)
        if what == 0:
            parent[key] = copy.deepcopy(chance.choice(VALUES))  # it may be changed in turn
        elif what == 1:
            del parent[key]
        elif isinstance(parent, dict):
            parent[f"{key} too"] = parent[key]
        else:
            parent.append(parent[key])
    return json.dumps(content).encode()


def somewhere(content: Any, chance: random.Random) -> tuple[Any, Any]:
    """A collection inside a JSON value, and a key of it; one is added to what is empty."""
    parent = content
    while True:
        if not parent:
            parent.update(new=None) if isinstance(parent, dict) else parent.append(None)
        key = chance.choice(list(parent)) if isinstance(parent, dict) else chance.randrange(len(parent))
        if not isinstance(parent[key], dict | list) or chance.random() < 0.3:
            return parent, key
        parent = parent[key]
