"""The compiled generator against Python's own."""

import random

import numpy as np
import pytest
import scipy.stats

from bert_tf.data import generator


def derived(key, number):
    # As Python sees it, an unsigned result is any integer.
    return generator.derived(np.uint64(key), number)


@pytest.mark.parametrize("seed", [0, 1, 12345, -7, 2**70])
def test_it_draws_what_python_draws(seed):
    state, expected = generator.python_state(seed), random.Random(seed)
    sizes = random.Random(0)
    for _ in range(2000):  # the 624 words are renewed a few times
        assert generator.uniform(state) == expected.random()
        size = sizes.choice([1, 2, 3, 30522, 2**31, sizes.randint(1, 2**32 - 1)])
        assert generator.below(state, size) == expected.randrange(size)
    values = np.arange(1000)
    generator.shuffle(state, values, 900)
    shuffled = list(range(900))
    expected.shuffle(shuffled)
    assert values.tolist() == [*shuffled, *range(900, 1000)]


def test_a_seeded_state_is_a_state_of_python_generators():
    state = np.empty(625, np.uint32)
    generator.seed_state(state, 99)
    expected = random.Random()
    expected.setstate((3, tuple(state.tolist()), None))
    for _ in range(2000):
        assert generator.uniform(state) == expected.random()


def test_seeded_states_draw_evenly_and_apart():
    state = np.empty(625, np.uint32)
    draws = []
    for key in range(2000):
        generator.seed_state(state, np.uint64(derived(1, key)))
        draws.append([generator.uniform(state) for _ in range(3)])
    draws = np.array(draws)
    for column in draws.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-4
    # The states of neighbouring keys, and the draws of one state.
    apart = [np.corrcoef(draws[:-1, 0], draws[1:, 0]), np.corrcoef(draws[:, :2].T)]
    assert all(abs(found[0, 1]) < 0.1 for found in apart)


def test_keys_derived_from_keys_are_all_different():
    found = {
        derived(derived(seed, a), b)
        for seed in range(5)
        for a in range(100)
        for b in range(-2, 98)
    }
    assert len(found) == 5 * 100 * 100


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 962])
def test_each_key_permutes(count):
    places = np.arange(count)
    for key in range(20):
        moved = generator.permuted_places(places, count, np.uint64(key))
        assert sorted(moved) == list(places)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 962, 2**20 + 1])
def test_what_a_permutation_moves_is_found_again(count):
    places = np.arange(count)[:: max(1, count // 1000)]
    for key in (0, 1, 2**63 + 7):
        moved = generator.permuted_places(places, count, np.uint64(key))
        before = generator.places_before(moved, count, np.uint64(key))
        np.testing.assert_array_equal(before, places)


@pytest.mark.parametrize("count", [2, 3, 7, 16])
def test_a_place_goes_anywhere_equally_often(count):
    keys = 6000
    found = np.zeros((count, count), int)
    for key in range(keys):
        moved = generator.permuted_places(np.arange(count), count, np.uint64(key))
        found[np.arange(count), moved] += 1
    for row in found:
        assert scipy.stats.chisquare(row).pvalue > 1e-5


def test_neighbours_go_apart():
    moved = generator.permuted_places(np.arange(100_000), 100_000, np.uint64(5))
    assert abs(np.corrcoef(moved[:-1], moved[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(moved, np.arange(100_000))[0, 1]) < 0.02
