"""Small parts of a large local file, many at a time and from anywhere in it.

A mapped file would bring in 64 KB around each part and count as memory of the process;
Python's own `os.pread` would hold up the threads beside it.
"""

import ctypes
from typing import Any, BinaryIO

import numba
import numpy as np

_pread = ctypes.CDLL(None).pread
# The address of the memory is a number here, which numba can count on with.
_pread.argtypes = [ctypes.c_int, ctypes.c_ssize_t, ctypes.c_size_t, ctypes.c_longlong]
_pread.restype = ctypes.c_ssize_t


def read_ranges(
    file: BinaryIO, dtype: Any, starts: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Returns ranges of the elements of a file, one behind the other.

    Args:
      file: Open for reading.
      dtype: Of its elements.
      starts: int64 [n], the first element of each range.
      counts: int64 [n], how many elements it has.

    Raises:
      OSError: A range is not in the file.
    """
    size = np.dtype(dtype).itemsize
    found = np.empty(int(counts.sum()) * size, np.uint8)
    read = _read(file.fileno(), starts * size, counts * size, found.ctypes.data)
    if read < len(starts):
        raise OSError(f"{file.name} cannot be read to its end")
    return found.view(dtype)


# Not cached, as an address of this process is compiled in.
@numba.njit(nogil=True)
def _read(descriptor, starts, sizes, address):
    """Reads ranges of bytes into memory, returns how many there were."""
    for i in range(len(starts)):
        done = 0
        while done < sizes[i]:
            count = _pread(descriptor, address, sizes[i] - done, starts[i] + done)
            if count <= 0:
                return i
            address += count
            done += count
    return len(starts)
