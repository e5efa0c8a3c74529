"""Python's random generator, compiled: the numbers of `random.Random`, one for one.

Its state is the Mersenne Twister's 624 words and the place of the next one, uint32
[625], as in `random.Random().getstate()[1]`.

"""

import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

# numba keeps what it compiled beside a function's file, and looks whether that file has
# changed since, but not whether one has whose functions are compiled in. So the name
# that it is kept under says what all of them were.
_COMPILED = zlib.crc32(
    b"".join(
        Path(__file__).with_name(name).read_bytes()
        for name in ("generator.py", "masking.py", "draws.py")
    )
)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of this module, or of the two that it is compiled into."""
    function.__qualname__ += f"_{_COMPILED:08x}"
    try:
        return numba.njit(function, cache=True, nogil=True)
    except RuntimeError:  # there is no folder to keep it in
        return numba.njit(function, nogil=True)


def python_state(seed: int) -> np.ndarray:
    """Returns the state of `random.Random(seed)`."""
    return np.array(random.Random(seed).getstate()[1], np.uint32)


@compiled
def _mixed(x):
    # The finalizer of splitmix64: every bit of the result depends on all of x.
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def derived(key, number):
    """Returns the key, uint64, of the number-th thing under a key."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    return _mixed(_mixed(np.uint64(key) + golden) ^ np.uint64(number + 1) * golden)


@compiled
def seed_state(state, key):
    """Sets a state to one that is a function of a 64-bit key.

    Seeding as `random.Random(key)` does takes longer than an instance's draws.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    place = np.uint64(key)
    for i in range(312):  # splitmix64
        place += golden
        word = _mixed(place)
        state[2 * i] = np.uint32(word & np.uint64(0xFFFFFFFF))
        state[2 * i + 1] = np.uint32(word >> np.uint64(32))
    state[624] = 0


@compiled
def _twist(state):
    for i in range(624):
        high = np.uint64(state[i]) & np.uint64(0x80000000)
        low = np.uint64(state[(i + 1) % 624]) & np.uint64(0x7FFFFFFF)
        y = high | low
        word = np.uint64(state[(i + 397) % 624]) ^ (y >> np.uint64(1))
        if y & np.uint64(1):
            word ^= np.uint64(0x9908B0DF)
        state[i] = np.uint32(word)
    state[624] = 0


@compiled
def _word(state):
    if state[624] >= 624:
        _twist(state)
    y = np.uint64(state[state[624]])
    state[624] += 1
    y ^= y >> np.uint64(11)
    y ^= (y << np.uint64(7)) & np.uint64(0x9D2C5680)
    y ^= (y << np.uint64(15)) & np.uint64(0xEFC60000)
    y ^= y >> np.uint64(18)
    return np.int64(y & np.uint64(0xFFFFFFFF))


@compiled
def uniform(state):
    """`random()`: float64 in [0, 1)."""
    high = _word(state) >> 5
    low = _word(state) >> 6
    return (high * 67108864.0 + low) * (1.0 / 9007199254740992.0)


@compiled
def below(state, n):
    """`randrange(n)` for n of 1 to 2**32 - 1."""
    shift = 32
    rest = n
    while rest:
        rest >>= 1
        shift -= 1
    number = _word(state) >> shift
    while number >= n:
        number = _word(state) >> shift
    return number


@compiled
def shuffle(state, values, count):
    """`shuffle(values[:count])`, in place."""
    for i in range(count - 1, 0, -1):
        j = below(state, i + 1)
        values[i], values[j] = values[j], values[i]


@compiled
def _step(count, key):
    return np.int64(derived(key, 4) >> np.uint64(1)) % count


@compiled
def _half(count):
    # Of the bits of the network, an even number.
    half = 1
    while 1 << (2 * half) < count:
        half += 1
    return half


@compiled
def permuted(place, count, key):
    """Returns where a place goes in the key's permutation of range(count).

    A Feistel network on the next larger even number of bits, walked until it ends
    inside: any place can be asked for alone, so that no order of all is in memory.
    """
    # A network of few bits favours some places; turned by a random step, none is.
    place = (place + _step(count, key)) % count
    half = _half(count)
    ones = (1 << half) - 1
    while True:
        left, right = place >> half, place & ones
        for turn in range(4):
            word = derived(derived(key, turn), right)
            left, right = right, left ^ np.int64(word & np.uint64(ones))
        place = left << half | right
        if place < count:
            return place


@compiled
def places_before(places, count, key):
    """Returns what `permuted` moves to each of places, int64 [n]."""
    before = np.empty(len(places), np.int64)
    half = _half(count)
    ones = (1 << half) - 1
    for i in range(len(places)):
        place = places[i]
        while True:  # the same way back
            left, right = place >> half, place & ones
            for turn in range(3, -1, -1):
                word = derived(derived(key, turn), left)
                left, right = right ^ np.int64(word & np.uint64(ones)), left
            place = left << half | right
            if place < count:
                break
        before[i] = (place - _step(count, key)) % count
    return before


@compiled
def permuted_places(places, count, key):
    """Returns `permuted` of each of places, int64 [n]."""
    moved = np.empty(len(places), np.int64)
    for i in range(len(places)):
        moved[i] = permuted(places[i], count, key)
    return moved
