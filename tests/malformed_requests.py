"""Requests that a server of tests/small_export.py has to refuse, drawn from a seed."""

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.small_export import VOCAB_SIZE

PREDICT = "/v1/models/words:predict"
# What a server for these is to be set to.
MAX_ROWS, MAX_TEXT_CHARS, MAX_BODY_BYTES = 50, 200, 40_000

_GOOD = {
    "serving_default": {"text_a": "a text"},
    "tags": {"text": "some words"},
    "answers": {"question": "who", "context": "they"},
    "ids": {"input_ids": [1, 2], "input_mask": [1, 1], "segment_ids": [0, 0]},
}
_WRONG_TEXTS = (
    None,
    3,
    2.5,
    True,
    ["a"],
    {},
    {"b64": "?"},
    {"b64": 3},
    {"c64": "YQ=="},
)
_WRONG_IDS = (
    *(None, "1", True, 1.0, 1.5, [1], {"b64": "YQ=="}),
    *(2**31, -(2**31) - 1, 10**30, 10**400, -1, VOCAB_SIZE),
    *(float("nan"), float("inf"), -float("inf")),
)


def malformed_requests(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Yields the methods, paths and bodies of requests, each with something wrong."""
    draw = random.Random(seed)
    makers = (_path, _body, _cut, _key, _value, _name, _shape, _size, _mixed)
    for index in range(count):
        yield makers[index % len(makers)](draw)


def _request(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """Returns a good signature and row."""
    signature = draw.choice(sorted(_GOOD))
    return signature, dict(_GOOD[signature])


def _posted(signature: str, rows: list[Any], draw: random.Random) -> Any:
    """Returns a request of rows, in one of the two forms."""
    if draw.random() < 0.5 and all(isinstance(row, dict) for row in rows):
        names = sorted({name for row in rows for name in row})
        inputs = {name: [row[name] for row in rows if name in row] for name in names}
        return _encoded({"signature_name": signature, "inputs": inputs})
    return _encoded({"signature_name": signature, "instances": rows})


def _encoded(content: Any) -> tuple[str, str, bytes]:
    return "POST", PREDICT, json.dumps(content).encode()


def _path(draw: random.Random) -> tuple[str, str, bytes]:
    """Other models, versions, verbs and methods."""
    path = draw.choice(
        [
            "/v1/models/other:predict",
            f"/v1/models/words/versions/{draw.randrange(2, 10**30)}:predict",
            f"/v1/models/words/versions/{'9' * draw.choice([20, 5000])}:predict",
            "/v1/models/words/versions/-1:predict",
            "/v1/models/words/versions/1a:predict",
            "/v1/models/words/labels/stable:predict",
            "/v1/models/words:classify",
            "/v1/models/words:regress",
            "/v1/models/words:" + "".join(draw.choices("abc/:%\u00e9", k=5)),
            "/v1/models/words/../../etc/passwd",
            "/v1/models//words:predict",
            "/v1/models/words",
            "/v1/models",
            "/v2/models/words:predict",
            "/",
        ]
    )
    method = draw.choice(["POST", "PUT", "DELETE", "PATCH"])
    return method, path, json.dumps({"instances": ["a"]}).encode()


def _body(draw: random.Random) -> tuple[str, str, bytes]:
    """What is no JSON object."""
    body = draw.choice(
        [
            b"",
            b"null",
            b"3",
            b'"instances"',
            b"[]",
            b"{}",
            b"\xef\xbb\xbf{}",
            b"[" * draw.randrange(1, 30_000),
            b'{"instances": ' + b"[" * 15_000 + b"]" * 15_000 + b"}",
            b'{"instances": ' + b'{"a":' * 6_000 + b"1" + b"}" * 6_001,
            b'{"instances": [' + b"9" * 5000 + b"]}",
            '{"instances": ["a"]}'.encode("utf-16"),
            b'{"instances": ["\xff\xfe"]}',
            b'{"instances": ["\\ud800"]}',
            b'{"instances": [NaN]}',
            b'{"instances": [1e999]}',
            draw.randbytes(draw.randrange(1, 200)),
        ]
    )
    return "POST", PREDICT, body


def _cut(draw: random.Random) -> tuple[str, str, bytes]:
    """The beginning of a good body."""
    signature, row = _request(draw)
    method, path, body = _posted(signature, [row], draw)
    return method, path, body[: draw.randrange(len(body) - 1)]


def _key(draw: random.Random) -> tuple[str, str, bytes]:
    """Other keys beside the rows, or other signatures."""
    signature, row = _request(draw)
    return _encoded(
        draw.choice(
            [
                {
                    "signature_name": draw.choice([3, None, ["tags"]]),
                    "instances": [row],
                },
                {"signature_name": "no such", "instances": [row]},
                {"signature_name": "__saved_model_init_op", "instances": [row]},
                {"signature_name": signature},
                {"signature_name": signature, "instances": [row], "inputs": [row]},
                {"signature_name": signature, "examples": [row]},
                {
                    "signature_name": signature,
                    "instances": draw.choice([row, 3, "a", []]),
                },
                {
                    "signature_name": signature,
                    "inputs": draw.choice([3, "a", [], None]),
                },
            ]
        )
    )


def _value(draw: random.Random) -> tuple[str, str, bytes]:
    """A wrong value in one of some rows."""
    signature, row = _request(draw)
    rows = [dict(row) for _ in range(draw.randrange(1, 4))]
    bad, name = draw.choice(rows), draw.choice(sorted(row))
    if signature == "ids":
        # Any number is fine as a mask.
        bad["input_ids"] = [1, draw.choice(_WRONG_IDS)]
    else:
        bad[name] = draw.choice(_WRONG_TEXTS)
    return _posted(signature, rows, draw)


def _name(draw: random.Random) -> tuple[str, str, bytes]:
    """Inputs that are missing, or that there are not."""
    signature, row = _request(draw)
    if draw.random() < 0.5:
        del row[draw.choice(sorted(row))]
    else:
        row[draw.choice(["text_c", "", "a" * 500, "\u0000"])] = draw.choice(
            ["a", 1, None]
        )
    return _posted(signature, [row], draw)


def _shape(draw: random.Random) -> tuple[str, str, bytes]:
    """Rows or columns of different lengths, lists too deep or too shallow."""
    row = dict(_GOOD["ids"])
    name = draw.choice(sorted(row))
    row[name] = draw.choice([[1], [1, 1, 1], 1, [[1, 1]], [], [[1], 1]])
    if draw.random() < 0.3:
        inputs = {"question": ["a", "b"], "context": ["c"] * draw.choice([1, 3])}
        return _encoded({"signature_name": "answers", "inputs": inputs})
    return _posted("ids", [dict(_GOOD["ids"]), row], draw)


def _size(draw: random.Random) -> tuple[str, str, bytes]:
    """More than may be."""
    rows = [
        [{"text_a": "a"}] * (MAX_ROWS + draw.randrange(1, 50)),
        [{"text_a": "a" * (MAX_TEXT_CHARS + draw.randrange(1, 500))}],
        [{"text_a": {"b64": "YWFh" * MAX_TEXT_CHARS}}],
        [{"text_a": "a" * (MAX_BODY_BYTES + draw.randrange(1, 10**5))}],
    ]
    wide = dict.fromkeys(_GOOD["ids"], [1] * (MAX_TEXT_CHARS + draw.randrange(1, 99)))
    if draw.random() < 0.2:
        return _posted("ids", [wide], draw)
    return _posted("serving_default", draw.choice(rows), draw)


def _mixed(draw: random.Random) -> tuple[str, str, bytes]:
    """Rows of several kinds."""
    rows = ["a", {"text": "a"}, ["a"], {"b64": "YQ=="}, 3]
    rows = draw.sample(rows, k=draw.randrange(2, len(rows)))
    if {type(row) for row in rows} == {str, dict} and {"text": "a"} not in rows:
        rows.append(None)
    return _encoded({"signature_name": "tags", "instances": rows})
