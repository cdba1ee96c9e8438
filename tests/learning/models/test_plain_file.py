"""Files of torch.save from anybody: whatever they hold, no code runs, little memory is taken, a message says why."""

import collections
import io
import pickle
import zipfile

import pytest
import torch

from tasks.learning.models.plain_file import PlainFileError, load_plain
from tests.support.hostile_files import (
    Call,
    bounded_memory,
    bounded_time,
    pickle_in,
    rezipped,
    saved,
    trap,
    with_pickle_of,
)

WHOLE = saved({"weights": torch.arange(3.0), "epoch": 7, "name": "line", "best": [None, (1.5, True)]})
BILLION = 10**9


def load(data):
    return load_plain(data, len(data) + 100_000)


def test_tensors_and_plain_values_are_loaded():
    content = load(WHOLE)
    assert content.pop("weights").tolist() == [0, 1, 2]
    assert content == {"epoch": 7, "name": "line", "best": [None, (1.5, True)]}


def test_a_state_dict_as_a_module_gives_it_is_loaded():
    state = torch.nn.Linear(2, 3).state_dict()
    assert isinstance(state, collections.OrderedDict)
    assert load(saved(state)).keys() == state.keys()


HUNGRY = {
    "a bytearray": Call(bytearray, 10 * BILLION),
    "a tensor of no file": Call(torch.FloatTensor, BILLION),
    "a tensor on no device": Call(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (BILLION,), (1,), False),
    "a sparse tensor": torch.sparse_coo_tensor(
        torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (BILLION,), check_invariants=True
    ),
    "a text encoded anew": Call(__import__("_codecs").encode, "x" * 100, "utf-32"),
}


@pytest.mark.parametrize("value", HUNGRY.values(), ids=HUNGRY)
def test_what_torch_would_make_for_a_file_is_refused_before_it_is_made(value, monkeypatch):
    data = saved({"weights": value})
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(PlainFileError, match=r"and was not run: it asks for \S+\."):
        load(data)


def strided(size, stride, offset=0):
    """A state_dict whose one tensor has another size than the three elements that the file holds."""
    return saved({"weights": torch.arange(3.0).as_strided(size, stride, offset)})


def declared(elements):
    """A file whose pickle says that a record of three elements holds so many."""
    own, other = (b"".join(op) for op in ((b"K\x03t",), (b"J", elements.to_bytes(4, "little"), b"t")))
    changed = pickle_in(WHOLE).replace(own, other, 1)
    assert changed != pickle_in(WHOLE)
    return rezipped(WHOLE, {"data.pkl": changed})


LARGE_ON_PAPER = {
    "repeated": strided((BILLION,), (0,)),
    "overlapping": strided((2, 2), (1, 1)),
    "declared": declared(BILLION),
    "declared a little": declared(4),
}


@pytest.mark.parametrize("data", LARGE_ON_PAPER.values(), ids=LARGE_ON_PAPER)
def test_a_tensor_is_refused_whose_elements_are_not_all_in_the_file(data):
    with bounded_memory(), pytest.raises(PlainFileError, match=r"declares a tensor of|record size"):
        load(data)


def nested(depth):
    """Lists in one another, each held twice: 2 ** depth of them to walk."""
    value = []
    for _ in range(depth):
        value = [value, value]
    return value


def endless():
    """A list that holds itself."""
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [nested(60), endless()], ids=["in two places", "in itself"])
def test_what_has_no_end_is_refused(value):
    with bounded_time(), pytest.raises(PlainFileError, match="holds one of its parts in two places"):
        load(saved({"weights": value}))


NO_VALUES = {
    "a class": collections.OrderedDict,
    "a function": torch._utils._rebuild_tensor_v2,
    "a storage": torch.ones(1)._typed_storage(),
}


@pytest.mark.parametrize("value", NO_VALUES.values(), ids=NO_VALUES)
def test_what_is_no_plain_value_is_refused(value):
    with pytest.raises(PlainFileError, match="which is no plain value"):
        load(saved({"weights": value}))


@pytest.mark.parametrize("content", [[1], (1,), None, 3, "text", torch.ones(1)], ids=lambda value: type(value).__name__)
def test_what_is_no_dictionary_is_refused(content):
    with pytest.raises(PlainFileError, match=r"contains a \w+, not a plain state_dict"):
        load(saved(content))


TRAPS = {
    "whole": lambda trap: saved(trap),
    "value": lambda trap: saved({"weights": trap}),
    "key": lambda trap: saved({"weights": {(trap,): 1}}),
    "another pickle": lambda trap: with_pickle_of(WHOLE, trap),
    "plain pickle": lambda trap: pickle.dumps(trap),
    "old format": lambda trap: saved(trap, _use_new_zipfile_serialization=False),
    "a second pickle": lambda trap: rezipped(WHOLE, extra=(("archive/DATA.PKL", pickle.dumps(trap)),)),
    "another folder": lambda trap: rezipped(WHOLE, extra=(("data.pkl", pickle.dumps(trap)),)),
}


@pytest.mark.parametrize("place", TRAPS)
@pytest.mark.parametrize("careless", [False, True], ids=["", "with torch trusting"])
def test_code_in_a_file_is_never_run(place, careless, tmp_path, monkeypatch):
    if careless:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    canary = tmp_path / "canary"
    with pytest.raises(
        PlainFileError, match=r"was not run: it asks for posix\.mkdir|no file of torch|two records|folder"
    ):
        load(TRAPS[place](trap(canary)))
    assert not canary.exists()
    pickle.loads(pickle.dumps(trap(canary)))
    assert canary.exists(), "the trap works"


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch):
    bomb = rezipped(WHOLE, {"data/0": bytes(100_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 200_000
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    with bounded_memory(50_000_000), pytest.raises(PlainFileError, match=r"is compressed, which torch\.save"):
        load_plain(bomb, 10**9)


def test_a_directory_that_declares_more_than_is_allowed_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(PlainFileError, match=r"declares [\d,]+ bytes, more than the 100 that"):
        load_plain(WHOLE, 100)


@pytest.mark.parametrize("more", [b"\0", b"more", WHOLE], ids=["a byte", "some", "another file"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_bytes_around_a_file_are_refused(more, place):
    with pytest.raises(PlainFileError, match="has other bytes before or after it"):
        load(more + WHOLE if place == "before" else WHOLE + more)


@pytest.mark.parametrize("comment", [b"more", bytes(16) + WHOLE[-6:]], ids=["short", "that looks like an end"])
def test_a_comment_of_a_zip_file_is_refused(comment):
    buffer = io.BytesIO(WHOLE)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = comment
    with pytest.raises(PlainFileError, match="has other bytes before or after it"):
        load(buffer.getvalue())


def test_a_directory_that_two_readers_would_find_in_two_places_is_refused():
    """torch.save tells where it begins twice, as a file beyond 4 GB would need it; one reader goes by the other."""
    place = WHOLE.rindex(b"PK\x05\x06") + 16
    elsewhere = int.from_bytes(WHOLE[place : place + 4], "little") - 8
    altered = WHOLE[:place] + elsewhere.to_bytes(4, "little") + WHOLE[place + 4 :]
    assert zipfile.ZipFile(io.BytesIO(altered)).namelist(), "Python goes by the first"
    with pytest.raises(PlainFileError, match="has other bytes before or after it"):
        load(altered)


@pytest.mark.parametrize("end", ["data.pkl", "data/0", "version"])
def test_a_file_without_one_of_its_records_is_refused(end):
    with pytest.raises(PlainFileError):
        load(rezipped(WHOLE, {end: None}))


def test_what_a_file_quotes_does_not_steer_the_terminal():
    with pytest.raises(PlainFileError) as caught:
        load(rezipped(WHOLE, {"data.pkl": b"\x80\x02c\x1b]0;evil\x07\nname\n."}))
    assert str(caught.value).isprintable()
    assert "evil" in str(caught.value)
