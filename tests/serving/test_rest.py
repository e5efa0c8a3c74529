"""The server speaks as TF Serving does, and refuses in one sentence what is wrong."""

import asyncio
import base64
import time

import numpy as np
import pytest

from bert_tf.host import held_by_process
from bert_tf.serving.batching import Batcher
from bert_tf.serving.json_tensors import Limits
from bert_tf.serving.rest import Service
from bert_tf.serving.saved_model import SavedModel
from tests import asgi_client
from tests.malformed_requests import (
    MAX_BODY_BYTES,
    MAX_ROWS,
    MAX_TEXT_CHARS,
    PREDICT,
    malformed_requests,
)


@pytest.fixture(scope="module")
def model(small_export):
    return SavedModel(small_export)


@pytest.fixture(scope="module")
def app(model):
    limits = Limits(MAX_ROWS, MAX_TEXT_CHARS)
    batcher = Batcher(model, max_batch_size=8)
    return Service(model, "words", batcher, limits, MAX_BODY_BYTES).app


def predict(app, content, path=PREDICT):
    return asgi_client.call(app, "POST", path, content)


def test_status(app):
    status = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in ("/v1/models/words", "/v1/models/words/versions/1"):
        found = asgi_client.call(app, "GET", path)
        assert found == (200, {"model_version_status": [status]})
    assert asgi_client.call(app, "GET", "/healthz") == (200, {"status": "ok"})


def test_metadata(app):
    for path in ("/v1/models/words", "/v1/models/words/versions/1"):
        status, found = asgi_client.call(app, "GET", f"{path}/metadata")
        assert status == 200
        assert found["model_spec"] == {
            "name": "words",
            "signature_name": "",
            "version": "1",
        }
        signatures = found["metadata"]["signature_def"]["signature_def"]
        assert signatures["ids"]["inputs"]["input_ids"] == {
            "dtype": "DT_INT32",
            "name": "ids_input_ids:0",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "-1", "name": ""}],
                "unknown_rank": False,
            },
        }
        assert signatures["tags"]["method_name"] == "tensorflow/serving/predict"
        assert set(signatures["tags"]["outputs"]) == {"words", "tags", "probabilities"}


IDS = {"input_ids": [[1, 2], [3, 4]], "input_mask": [[1, 0], [1, 1]]}
IDS["segment_ids"] = [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (  # rows of bare values, or of objects; a single output has no name
            {
                "signature_name": "answers",
                "instances": [{"question": "q", "context": "c"}],
            },
            {"predictions": ["q|c"]},
        ),
        (
            {
                "signature_name": "answers",
                "inputs": {"question": ["q"], "context": ["é"]},
            },
            {"outputs": ["q|é"]},
        ),
        (
            {"signature_name": "tags", "instances": ["a bb", {"b64": "YSBiYg=="}]},
            {
                "predictions": [
                    {
                        "words": ["a", "bb"],
                        "tags": ["1", "2"],
                        "probabilities": [1, 0.5],
                    }
                ]
                * 2
            },
        ),
        (
            {"signature_name": "tags", "inputs": ["bb", ""], "more": 1},
            {
                "outputs": {"words": [["bb"], [""]], "tags": [["2"], [""]]}
                | {"probabilities": [[0.5], [0]]}
            },
        ),
        (
            {"signature_name": "serialized", "instances": [{"text_a": "a"}]},
            {"predictions": [{"b64": base64.b64encode(b"a\xff").decode()}]},
        ),
        (
            {"signature_name": "ids", "inputs": IDS},
            {"outputs": {"total": [1, 7], "kept": [[1, 0], [3, 4]]}},
        ),
        (
            {
                "signature_name": "ids",
                "instances": [{k: v[1] for k, v in IDS.items()}],
            },
            {"predictions": [{"total": 7, "kept": [3, 4]}]},
        ),
        (
            {"signature_name": "tags", "inputs": {"text": {"b64": "YQ=="}}},
            {"error": "Expected a list for text, got an object."},
        ),
    ],
)
def test_predictions(app, asked, answered):
    status, found = predict(app, asked)
    assert found == answered
    assert status == (400 if "error" in found else 200)


def test_the_default_signature(app, model):
    texts = ["a text", "another, which is longer"]
    expected = model.run(
        "serving_default", {"text_a": np.array([t.encode() for t in texts], object)}
    )
    for name in ({}, {"signature_name": ""}, {"signature_name": "serving_default"}):
        for path in (PREDICT, "/v1/models/words/versions/001:predict"):
            status, found = predict(app, {"instances": texts, **name}, path)
            assert status == 200
            for row, each in enumerate(found["predictions"]):
                assert each["label"] == expected["label"][row].decode()
                assert each["labels"] == ["short", "long"]
                assert each["probabilities"] == expected["probabilities"][row].tolist()


def test_serialized_examples(app):
    import tensorflow as tf

    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[1, 2, 3, 4]))
    example = tf.train.Example(
        features=tf.train.Features(feature={"input_ids": feature})
    )
    encoded = {"b64": base64.b64encode(example.SerializeToString()).decode()}
    asked = {"signature_name": "tf_example", "instances": [{"examples": encoded}]}
    assert predict(app, asked) == (200, {"predictions": [[1, 2, 3, 4]]})
    asked["instances"] = ["no example"]
    status, found = predict(app, asked)
    assert status == 400
    assert found["error"] == "Could not parse example input, value: 'no example'"


def test_many_at_a_time(app):
    """Of rows that share batches, each gets its own answer, the bad ones an error."""
    texts = ["word " * (index % 7) for index in range(60)]

    async def ask():
        requests = [
            {"signature_name": "tags", "instances": [text or None]} for text in texts
        ]
        return await asyncio.gather(
            *(asgi_client.request(app, "POST", PREDICT, each) for each in requests)
        )

    for text, (status, found) in zip(texts, asyncio.run(ask()), strict=True):
        if text:
            assert found["predictions"][0]["words"] == text.split()
        else:
            assert status == 400


def test_a_large_request(app):
    text = "some " * 30
    status, found = predict(app, {"signature_name": "tags", "instances": [text] * 50})
    assert status == 200
    assert [each["words"] for each in found["predictions"]] == [["some"] * 30] * 50
    # Long enough to be worked on in another thread.
    rows = {key: [[1] * 80] * 50 for key in IDS}
    status, found = predict(app, {"signature_name": "ids", "inputs": rows})
    assert found["outputs"]["total"] == [160] * 50


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"instances": [3]}, "Expected a string for text_a, row 0, got a number."),
        ({"instances": ["a", {"text_a": "b"}]}, "got both: an object in row 1."),
        ({"instances": [{"text_b": "b"}]}, "Expected text_a in row 0 of instances, "),
        (
            {"instances": ["a" * 201]},
            "at most 200 characters for text_a, row 0, got 201",
        ),
        ({"instances": ["a"] * 51}, "from 1 to 50 rows for text_a, got 51."),
        ({"instances": []}, "one row or more in instances, got none"),
        ({"signature_name": "x", "instances": []}, "one of answers, ids, serialized, "),
        (b"{", "Expected JSON, got something else: Expecting property name"),
        (b"\xff", "Expected UTF-8, got other bytes at position 0."),
        (b'["', "Expected JSON, got something else: Unterminated string"),
        (
            {"signature_name": "ids", "inputs": {**IDS, "input_ids": [[1, 2], [3]]}},
            "lists of one length for input_ids, 2, got 1 in row 1.",
        ),
        (
            {"signature_name": "ids", "inputs": {**IDS, "input_ids": [[1], [2]]}},
            "rows of input_mask as long as those of input_ids, got 2 and 1 values.",
        ),
        (
            {
                "signature_name": "ids",
                "inputs": {**IDS, "input_ids": [[1, 2], [3, -1]]},
            },
            "Expected ids from 0 to 99, got others.",
        ),
        (
            {
                "signature_name": "ids",
                "inputs": {**IDS, "input_ids": [[1, 2.0], [3, 4]]},
            },
            "Expected int32 numbers for input_ids, row 0, got 2.0.",
        ),
        (
            {
                "signature_name": "ids",
                "inputs": {**IDS, "input_ids": [[2**31, 2], [3, 4]]},
            },
            "from -2147483648 to 2147483647 for input_ids, row 0, got 2147483648.",
        ),
    ],
)
def test_what_is_wrong_is_said(app, asked, says):
    status, found = predict(app, asked)
    assert status == 400 and says in found["error"]


def test_paths(app):
    def error(method, path):
        status, found = asgi_client.call(app, method, path, {"instances": ["a"]})
        return status, found["error"]

    servable = "Servable not found for request: "
    assert error("POST", "/v1/models/other:predict") == (
        404,
        f"{servable}Latest(other)",
    )
    assert error("POST", "/v1/models/words/versions/2:predict") == (
        404,
        f"{servable}Specific(words, 2)",
    )
    assert error("GET", "/v1/models/other/metadata")[0] == 404
    assert error("GET", "/v1/models/words/versions/2") == (
        404,
        "Could not find version 2 of model words",
    )
    assert error("POST", "/v1/models/words") == (
        400,
        "Malformed request: POST /v1/models/words",
    )
    assert error("GET", PREDICT) == (400, f"Malformed request: GET {PREDICT}")
    status, says = error("POST", "/v1/models/words:classify")
    assert status == 400 and "send its inputs to :predict" in says
    assert error("GET", "/v2")[0] == 404
    assert error("POST", "/healthz")[0] == 405


def test_a_body_that_is_too_long_is_not_kept(app):
    pieces = [b"a" * 10_000] * 1000
    before = held_by_process()
    status, found = predict(app, pieces)
    assert (status, found["error"][:40]) == (
        413,
        "Expected a body of at most 40000 bytes, ",
    )
    assert held_by_process() - before < 5e6
    assert predict(app, {"instances": ["a"]})[0] == 200


def test_a_slow_or_a_vanished_client(app, monkeypatch):
    monkeypatch.setattr("bert_tf.serving.rest._BODY_SECONDS", 0.01)

    def answer(receive):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": []}
        asyncio.run(app({**scope, "query_string": b""}, receive, send))
        return sent[0]["status"]

    async def slow():
        await asyncio.sleep(1)

    async def vanished():
        return {"type": "http.disconnect"}

    assert answer(slow) == 408
    assert answer(vanished) == 400


def test_a_full_queue_and_a_failing_model(model):
    class Failing:
        signatures = model.signatures
        signature_defs = model.signature_defs
        version = 1

        def run(self, signature, inputs):
            time.sleep(0.2)
            raise RuntimeError("out of order")

    batcher = Batcher(Failing(), max_batch_size=1, max_enqueued_batches=1)
    app = Service(Failing(), "words", batcher, Limits(9, 9), 999).app

    async def ask():
        ways = [
            asgi_client.request(app, "POST", PREDICT, {"instances": ["a"]})
            for _ in range(4)
        ]
        return await asyncio.gather(*ways, return_exceptions=True)

    found = asyncio.run(ask())
    refused = [each for each in found if not isinstance(each, Exception)]
    assert refused and all(status == 503 for status, _ in refused)
    assert refused[0][1]["error"].startswith("Expected room in the queue")
    failed = [each for each in found if isinstance(each, RuntimeError)]
    assert len(failed) + len(refused) == 4


def refuses(app, count, seed):
    """Asserts that malformed requests are, and that good ones are answered after."""
    for method, path, body in malformed_requests(count, seed):
        status, found = asgi_client.call(app, method, path, body)
        what = (method, path[:100], body[:300], status, found)
        assert 400 <= status < 500, what
        assert isinstance(found["error"], str) and len(found) == 1, what
        assert 8 < len(found["error"]) < 1000, what
    status, found = predict(app, {"signature_name": "tags", "instances": ["a bb"]})
    assert (status, found["predictions"][0]["words"]) == (200, ["a", "bb"])


def test_malformed_requests(app):
    refuses(app, 100, seed=1)


@pytest.mark.acceptance
def test_two_thousand_malformed_requests(app, measured):
    refuses(app, 400, seed=2)
    before = held_by_process()
    refuses(app, 2000, seed=3)
    grown = (held_by_process() - before) / 2**20
    measured("serving: MB held after 2,000 malformed requests", grown, at_most=20)
