"""The content store of hf_xet in a local folder: what it holds, under which of its own hashes, and the bytes."""

import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_RECORD = 48  # bytes; a shard is a header, then records, each of them a hash and four numbers
_VERIFIED, _WITH_SHA256 = 1 << 31, 1 << 30  # flags of a file: what follows its segments


@dataclass(frozen=True)
class XetFile:
    hash: str
    size: int


class XetStore:
    """A folder that hf_xet writes to and reads from, given its `url`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        os.environ.setdefault("HF_XET_LOG_DEST", os.devnull)  # else hf_xet writes logs to the user's cache
        self.url = f"local://{folder}"
        self._shards = folder / "xet" / "xorbs" / "shards"
        self._seen: set[Path] = set()
        self._files: dict[str, XetFile] = {}

    def find(self, sha256: str) -> XetFile | None:
        """The file with these contents, if it was uploaded."""
        if sha256 not in self._files:
            for shard in set(self._shards.glob("*.mdb")) - self._seen:
                self._seen.add(shard)
                self._files.update(_files_of(shard.read_bytes()))
        return self._files.get(sha256)

    def read(self, sha256: str) -> bytes:
        from hf_xet import XetFileInfo, XetSession

        file = self._files[sha256]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "contents"
            with XetSession().new_file_download_group(endpoint=self.url) as group:
                group.start_download_file(XetFileInfo(file.hash, file.size), str(path))
            return path.read_bytes()


def _files_of(shard: bytes) -> Iterator[tuple[str, XetFile]]:
    """Pairs of sha256 and file."""
    position = _RECORD
    while shard[position : position + 32] != b"\xff" * 32:
        flags, segments = struct.unpack_from("<II", shard, position + 32)
        starts = range(position + _RECORD, position + _RECORD * (1 + segments), _RECORD)
        size = sum(struct.unpack_from("<I", shard, start + 36)[0] for start in starts)
        metadata = position + _RECORD * (1 + segments * (2 if flags & _VERIFIED else 1))
        if flags & _WITH_SHA256:
            yield _hash_at(shard, metadata), XetFile(_hash_at(shard, position), size)
        position = metadata + (_RECORD if flags & _WITH_SHA256 else 0)


def _hash_at(shard: bytes, position: int) -> str:
    return "".join(f"{number:016x}" for number in struct.unpack_from("<4Q", shard, position))
