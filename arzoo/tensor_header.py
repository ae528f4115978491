"""What a safetensors file says of its tensors, read from its header alone, and without belief in it."""

import json
import os
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

_LARGEST_HEADER = 2**24  # bytes; no honest file comes near it
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of a number in safetensors, by the name of its type there."""


class StoredTensor(NamedTuple):
    """What the header of the weights says of a tensor; `dtype` is one of `DTYPES`."""

    dtype: str
    shape: tuple[int, ...]


def read_header(stream: BinaryIO, file: Path) -> dict[str, StoredTensor]:
    """The tensors in a safetensors file by name, from its header alone: its length in 8 bytes, then JSON.

    Nothing that the header claims is believed, or taken memory for: the tensors must have room in the file.

    Arguments:
        stream: The file, open.
        file: Its name, for the message.

    Raises:
        ValueError: The header is not valid.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    try:
        if length > min(size - 8, _LARGEST_HEADER):
            raise ValueError("it is too long")
        header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        room = size - 8 - length
        tensors = {key: _stored_tensor(tensor, room) for key, tensor in header.items()}
        if sum(map(size_of, tensors.values())) > room:
            raise ValueError("tensors lie upon each other")
        return tensors
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no safetensors file: its header cannot be read") from error


def _stored_tensor(tensor: Any, size: int) -> StoredTensor:
    dtype, shape, (begin, end) = tensor["dtype"], tuple(tensor["shape"]), tensor["data_offsets"]
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end)) or len(shape) > 64:
        raise ValueError("a size is no number")
    found = StoredTensor(dtype, shape)
    if not begin <= end <= size or size_of(found) != end - begin:
        raise ValueError("a tensor lies outside of the file")
    return found


def size_of(tensor: StoredTensor) -> int:
    """Bytes of a tensor in a file."""
    return prod(tensor.shape) * DTYPES[tensor.dtype]
