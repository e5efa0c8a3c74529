"""Requests share batches, and none is answered otherwise than alone."""

import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import ConfigError, DataError
from bert_tf.serving.batching import Batcher, QueueFull
from bert_tf.serving.saved_model import SavedModel, SignatureSpec

WAIT = 20


def texts(*values):
    return np.array([value.encode() for value in values], object)


def ids(*rows):
    rows = np.array(rows, np.int32)
    return {
        "input_ids": rows,
        "input_mask": np.ones_like(rows),
        "segment_ids": np.zeros_like(rows),
    }


class Held:
    """A model that waits for leave to run each batch, and notes what ran."""

    signatures = dict.fromkeys(
        ("a", "b"),
        SignatureSpec(
            {"text": tf.TensorSpec([None], tf.string)},
            {"length": tf.TensorSpec([None], tf.int32)},
        ),
    )

    def __init__(self):
        self.batches = []
        self.started = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)

    def run(self, signature, inputs):
        self.batches.append((signature, [text.decode() for text in inputs["text"]]))
        self.started.release()
        assert self.leave.acquire(timeout=WAIT)
        if b"fail" in inputs["text"]:
            raise DataError("Expected something else.")
        return {"length": np.array([len(text) for text in inputs["text"]])}

    def go_on(self, batches=100):
        self.leave.release(batches)


@pytest.fixture
def model():
    return Held()


@pytest.fixture(scope="module")
def saved_model(small_export):
    return SavedModel(small_export)


def batcher_at_work(model, **settings):
    """Returns a batcher that runs a batch of `first`, and has for now nothing else."""
    batcher = Batcher(model, **settings)
    first = batcher.submit("a", {"text": texts("first")})
    assert model.started.acquire(timeout=WAIT)
    return batcher, first


def test_what_comes_while_a_batch_runs_is_the_next_one(model):
    batcher, first = batcher_at_work(model, max_batch_size=4)
    asked = [["x"], ["yy", "z"], ["a", "b"], ["c"], ["d", "e", "f", "g", "h"]]
    futures = [batcher.submit("a", {"text": texts(*words)}) for words in asked]
    other = batcher.submit("b", {"text": texts("other")})
    model.go_on()
    assert first.result(WAIT)["length"].tolist() == [5]
    for words, future in zip(asked, futures, strict=True):
        assert future.result(WAIT)["length"].tolist() == list(map(len, words))
    assert other.result(WAIT)["length"].tolist() == [5]
    batcher.close()
    assert model.batches == [
        ("a", ["first"]),
        ("a", ["x", "yy", "z"]),
        ("a", ["a", "b", "c"]),
        ("a", ["d", "e", "f", "g"]),  # of more rows than a batch: in parts
        ("a", ["h"]),
        ("b", ["other"]),
    ]


def test_an_idle_batcher_runs_a_request_at_once(model):
    model.go_on()
    batcher = Batcher(model)
    start = time.monotonic()
    batcher.submit("a", {"text": texts("x")}).result(WAIT)
    assert time.monotonic() - start < 1


def test_with_a_timeout_it_waits_for_more(model):
    model.go_on()
    batcher = Batcher(model, max_batch_size=2, batch_timeout_micros=10**8)
    futures = [batcher.submit("a", {"text": texts(word)}) for word in ("x", "yy")]
    assert [f.result(WAIT)["length"].tolist() for f in futures] == [[1], [2]]
    waiting = batcher.submit("a", {"text": texts("zzz")})
    batcher.close()  # ends the waiting too
    assert waiting.result(0)["length"].tolist() == [3]
    assert model.batches == [("a", ["x", "yy"]), ("a", ["zzz"])]
    model = Held()
    model.go_on()
    short = Batcher(model, max_batch_size=2, batch_timeout_micros=1000)
    assert short.submit("a", {"text": texts("x")}).result(WAIT)


def test_a_full_queue_takes_no_more(model):
    batcher, _ = batcher_at_work(model, max_batch_size=2, max_enqueued_batches=2)
    waiting = [batcher.submit("a", {"text": texts("x", "y", "z")})]
    with pytest.raises(QueueFull):
        batcher.submit("b", {"text": texts("p", "q")})
    waiting.append(batcher.submit("b", {"text": texts("p")}))
    model.go_on()
    assert [len(f.result(WAIT)["length"]) for f in waiting] == [3, 1]
    # Into an empty queue goes a request of any size.
    many = batcher.submit("a", {"text": texts(*"abcdefgh")})
    assert many.result(WAIT)["length"].tolist() == [1] * 8


def test_a_bad_request_hurts_no_other(model):
    batcher, _ = batcher_at_work(model)
    futures = [batcher.submit("a", {"text": texts(w)}) for w in ("x", "fail", "yy")]
    model.go_on()
    assert futures[0].result(WAIT)["length"].tolist() == [1]
    assert futures[2].result(WAIT)["length"].tolist() == [2]
    with pytest.raises(DataError, match="something else"):
        futures[1].result(WAIT)
    assert model.batches[1:] == [
        ("a", ["x", "fail", "yy"]),
        ("a", ["x"]),
        ("a", ["fail"]),
        ("a", ["yy"]),
    ]


def test_a_request_that_was_given_up_does_not_run(model):
    batcher, _ = batcher_at_work(model)
    given_up, kept = (batcher.submit("a", {"text": texts(w)}) for w in ("x", "y"))
    assert given_up.cancel()
    model.go_on()
    assert kept.result(WAIT)
    assert model.batches[1:] == [("a", ["y"])]


def test_texts_of_like_length_are_run_together(model):
    batcher, _ = batcher_at_work(model)
    lengths = [26, 100, 3, 21, 90, 24, 170]
    batches = [[170, 100, 90], [26, 24, 21, 3]]
    futures = [batcher.submit("a", {"text": texts("x" * n)}) for n in lengths]
    model.go_on()
    assert [f.result(WAIT)["length"].tolist() for f in futures] == [
        [n] for n in lengths
    ]
    assert [list(map(len, words)) for _, words in model.batches[1:]] == batches


def run_together(model, signature, asked):
    """Returns the answers to requests that were in one batch."""
    batches = []

    class Held:
        signatures = model.signatures

        def run(self, signature, inputs):
            batches.append(inputs)
            return model.run(signature, inputs)

    batcher = Batcher(Held(), batch_timeout_micros=10**8)
    futures = [batcher.submit(signature, inputs) for inputs in asked]
    batcher.close()
    assert len(batches) == 1
    return [future.result(0) for future in futures]


@pytest.mark.parametrize(
    ("signature", "asked"),
    [
        (
            "tags",
            [{"text": texts(*words)} for words in (["a b", "c"], ["d e f g"], ["h"])],
        ),
        ("tags", [{"text": texts("a b c")}, {"text": texts("", " ")}]),
        ("ids", [ids([1, 2, 3]), ids([4], [0]), ids([5, 6, 0, 0, 0])]),
        (
            "serving_default",
            [{"text_a": texts("a", "long")}, {"text_a": texts("b" * 20)}],
        ),
    ],
)
def test_answers_do_not_depend_on_others(saved_model, signature, asked):
    together = run_together(saved_model, signature, asked)
    for inputs, found in zip(asked, together, strict=True):
        [alone] = run_together(saved_model, signature, [inputs])
        assert alone.keys() == found.keys() != set()
        for name, array in alone.items():
            assert array.tolist() == found[name].tolist()
            plain = saved_model.run(signature, inputs)[name]
            assert array.tolist() == plain.tolist()


def test_what_the_model_refuses_is_named(saved_model):
    batcher = Batcher(saved_model, batch_timeout_micros=10**8)
    good, bad = (batcher.submit("ids", ids([1, index])) for index in (2, 100))
    batcher.close()
    assert good.result(0)["total"].tolist() == [3]
    with pytest.raises(DataError, match=r"^Expected ids from 0 to 99, got others\.$"):
        bad.result(0)


def test_signatures_without_rows(model):
    spec = tf.TensorSpec([], tf.string)
    model.signatures = {"a": SignatureSpec({"text": spec}, {})}
    with pytest.raises(ConfigError, match=r"number of rows, found text of shape \(\)"):
        Batcher(model)
