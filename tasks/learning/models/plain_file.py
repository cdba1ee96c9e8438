"""Files of torch.save, read without trusting them: dictionaries of tensors and plain values, and nothing else.

torch's own protection, `weights_only=True`, lets no code run. But it allows `bytearray(10**10)` and other calls with
which a file of a few bytes takes all memory. So what a file asks for is read off its pickle first, which calls nothing.
"""

import io
import pickletools
import zipfile
from typing import Any

import torch
from torch import Tensor

#: What the pickle of a dictionary of tensors and plain values names, as torch.save writes it.
_ALLOWED = frozenset(
    {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"}
    | {
        f"torch {kind}Storage"
        for kind in ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
    }
)

#: A zip file without a comment ends in 22 bytes, which begin so and say where its directory begins, or that this is
#: said elsewhere because it is beyond 4 GB.
_END, _END_BYTES, _DIRECTORY, _BEYOND = b"PK\x05\x06", 22, slice(16, 20), 2**32 - 1


class PlainFileError(ValueError):
    """A file that is not one of tensors and plain values."""


def load_plain(data: bytes, allowed: int) -> dict[str, Any]:
    """Load a file of `torch.save` that holds a dictionary of tensors and plain values, onto the CPU.

    Args:
        data: the file. No code in it is ever run, and little more is allocated than its own size.
        allowed: bytes that it may unpack to.

    Raises:
        PlainFileError: the file is damaged, unpacks to more, or holds anything else.
    """
    _require_plain_pickle(_pickle_of(data, allowed))
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle can make the reader fail in any way
        raise _refusal(_first_line(error)) from error
    if not isinstance(content, dict):
        raise PlainFileError(f"the file contains a {type(content).__name__}, not a plain state_dict")
    _require_plain_values(content)
    return content


def _pickle_of(data: bytes, allowed: int) -> bytes:
    """The pickle in a file of torch.save, after the directory of the zip file that it lies in was found harmless."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _require_one_file(data[-_END_BYTES:], archive.start_dir, entries)
            _require_entries(entries, allowed)
            folder = entries[0].filename.partition("/")[0]
            return archive.read(f"{folder}/data.pkl")
    except PlainFileError:
        raise
    except (zipfile.BadZipFile, ValueError, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        raise PlainFileError(f"the file is no file of torch.save, or is damaged: {error}") from error


def _require_one_file(end: bytes, start: int, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse bytes before or after a zip file: one reader makes allowance for them, and another reads another file."""
    declared = int.from_bytes(end[_DIRECTORY], "little")
    first = min((entry.header_offset for entry in entries), default=None)
    if not end.startswith(_END) or declared not in (start, _BEYOND) or first != 0:
        raise PlainFileError("the file has other bytes before or after it")


def _require_entries(entries: list[zipfile.ZipInfo], allowed: int) -> None:
    """Refuse, by the directory of the zip file alone, what two readers could read differently, or what unpacks."""
    # torch looks for a record by its name in any case.
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise PlainFileError("the file holds two records of one name")
    if len({entry.filename.partition("/")[0] for entry in entries}) > 1:
        raise PlainFileError("the file holds records in more than one folder")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise PlainFileError(f"the file's record {entry.filename} is compressed, which torch.save never does")
    declared = sum(entry.file_size for entry in entries)
    if declared > allowed:
        raise PlainFileError(
            f"the file declares {declared:,} bytes, more than the {allowed:,} that the model's tensors can take"
        )


def _require_plain_pickle(pickled: bytes) -> None:
    """Refuse a pickle that names anything but what tensors are made of."""
    try:
        named = {str(argument) for opcode, argument, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL"}
    except (ValueError, IndexError) as error:
        raise _refusal(_first_line(error)) from error
    if foreign := sorted(named - _ALLOWED):
        raise _refusal(f"it asks for {_printable(foreign[0].replace(' ', '.'))}")


def _require_plain_values(content: dict[str, Any]) -> None:
    """Refuse tensors that exist on paper only, other values than plain ones, and what has no end.

    A pickle can hold a list in itself, or in two places, and those in two again: few bytes that take for ever to walk.
    """
    waiting: list[Any] = [content]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            if value and id(value) in seen:
                raise PlainFileError("the file holds one of its parts in two places")
            seen.add(id(value))
            waiting += [*value, *value.values()] if isinstance(value, dict) else value
        elif isinstance(value, Tensor):
            _require_all_there(value)
        elif not isinstance(value, str | int | float | None):
            raise PlainFileError(f"the file contains a {type(value).__name__}, which is no plain value")


def _require_all_there(tensor: Tensor) -> None:
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > held:
        raise PlainFileError(f"the file declares a tensor of {tensor.numel():,} elements and holds {held:,}")


def _refusal(why: str) -> PlainFileError:
    return PlainFileError(
        f"the file is damaged or contains something that is not a plain state_dict, and was not run: {why}"
    )


def _first_line(error: Exception) -> str:
    """What an error says, less torch's advice to switch off what protects from code in a file."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    causes = [line for line in lines if "WeightsUnpickler error" in line] or lines
    return _printable(causes[0].rpartition("WeightsUnpickler error: ")[2].partition(" by default")[0])


def _printable(text: str) -> str:
    """A text that may come out of the file, and could otherwise steer the terminal."""
    return "".join(character for character in text if character.isprintable())
