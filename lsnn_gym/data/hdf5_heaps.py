"""What keeps libhdf5 reading for ever, found before it reads: damaged heaps of arrays of different lengths.

An object of a global heap says how many bytes it takes. libhdf5 goes from one to the next by that number and does not
mind one of too few bytes, of which a zero leads back to the same object. Sizes are as in the HDF5 File Format
Specification, version 3.0, III.E "Global Heap"; that of object 0, the space that is free, has its own header in it.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from lsnn_gym.errors import UserError

_COLLECTION = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HH4xQ")


def check_heaps(path: Path) -> None:
    """Look at every global heap of a file whose lengths have eight bytes, which is what h5py writes.

    Raises:
        UserError: A heap has an object that is smaller than its header, or goes beyond the heap.
        OSError: The file cannot be read.
    """
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # Wherever the letters stand, for a damaged address may lead there.
        start = content.find(b"GCOL")
        while start >= 0:
            _check_heap(path, content, start)
            start = content.find(b"GCOL", start + 1)


def _check_heap(path: Path, content: mmap.mmap, start: int) -> None:
    if start + _COLLECTION.size > len(content):
        return
    _, version, size = _COLLECTION.unpack_from(content, start)
    if version != 1:
        return  # letters of something else, and libhdf5 reads no other version
    end = min(start + size, len(content))
    position = start + _COLLECTION.size
    while position + _OBJECT.size <= end:
        number, _, length = _OBJECT.unpack_from(content, position)
        taken = _OBJECT.size + -(-length // 8) * 8 if number else length
        if not _OBJECT.size <= taken <= end - position:
            raise UserError(
                f"{path}: damaged: object {number} of the heap at byte {start:,} takes {taken:,} bytes, expected "
                f"{_OBJECT.size} to {end - position:,}"
            )
        position += taken
