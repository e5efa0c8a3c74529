"""WordPiece in core TensorFlow ops, against Python and against TF Text's op."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bert_tf.tokenization import (
    FullTokenizer,
    GraphTokenizer,
    WordpieceTokenizer,
    load_vocab,
)
from bert_tf.tokenization.core_wordpiece import CoreWordpieceTokenizer, build_trie

ROOT = Path(__file__).resolve().parents[2]

# A server without TF Text, in TensorFlow 2 and 1; then this package without it.
ASK = """
import json, sys
import tensorflow as tf
folder, vocab_file, texts = json.load(sys.stdin)
ids = tf.saved_model.load(folder).signatures["ids"](tf.constant(texts))["output_0"]
answers = [ids.numpy().tolist()]
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta = tf.compat.v1.saved_model.load(session, ["serve"], folder)
    signature = meta.signature_def["ids"]
    feed = {signature.inputs["strings"].name: texts}
    answers.append(session.run(signature.outputs["output_0"].name, feed).tolist())
from bert_tf.tokenization.graph_tokenizer import GraphTokenizer
core = GraphTokenizer(vocab_file, ops="core")
answers.append(core.tokenize(texts).to_tensor().numpy().tolist())
assert "tensorflow_text" not in sys.modules
print(json.dumps(answers))
"""


def _vocab(pieces: str) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(["[UNK]", *pieces.split()])}


def _assert_splits(vocab, words: list[str]) -> None:
    """Compares with the tokenizer in Python."""
    plain = WordpieceTokenizer(vocab)
    ids = CoreWordpieceTokenizer(vocab).tokenize(tf.constant(words))
    assert ids.dtype == tf.int32
    for word, row in zip(words, ids.to_list(), strict=True):
        assert row == [vocab[piece] for piece in plain.tokenize(word)], word


def test_the_longest_match_wins_and_is_not_taken_back():
    vocab = _vocab("ab abcd ##c ##cx ##d ##dd")
    splits = {
        "ab": "ab",
        "abc": "ab ##c",
        "abcx": "ab ##cx",
        "abcd": "abcd",
        "abccxc": "ab ##c ##cx ##c",
        "abcdddd": "abcd ##dd ##d",
        "abcddddx": "[UNK]",
        "abcxd": "ab ##cx ##d",
        "abx": "[UNK]",
        "a": "[UNK]",
        "c": "[UNK]",
        "": "",
        "[UNK]": "[UNK]",
    }
    ids = CoreWordpieceTokenizer(vocab).tokenize(list(splits))
    expected = [[vocab[p] for p in split.split()] for split in splits.values()]
    assert ids.to_list() == expected


@pytest.mark.parametrize(
    "pieces",
    [
        "",
        "a",
        "a b ab",  # none goes on with a word
        "##a ##b",  # none begins one
        "a ##a",
        "a ##" + "a" * 60 + "b ##" + "a" * 30,
        "é ##é e ##\u0301 中 ##中中 𝔘 ##𝔘 𝔘𝔘é \U0010ffff ##\U0010ffff",
        "a ##b " + "b" * 300,
    ],
    ids=["none", "one", "begin", "inside", "letter", "overlap", "unicode", "long"],
)
def test_odd_vocabularies(pieces):
    rng = random.Random(5)
    words = ["".join(rng.choices("aab", k=rng.randint(1, 6))) for _ in range(50)]
    words += ["".join(rng.choices("éè中𝔘\U0010ffff", k=3)) for _ in range(50)]
    words += ["a" * length for length in (59, 60, 61, 62, 150, 200)] + ["b" * 200]
    _assert_splits(_vocab(pieces), words)
    blanks = {"": 7, **_vocab(pieces), "##": 9}
    _assert_splits(blanks, words)


def test_random_vocabularies():
    rng = random.Random(6)
    words = ["".join(rng.choices("abc", k=rng.randint(1, 9))) for _ in range(1000)]
    for _ in range(10):
        pieces = {
            rng.choice(("", "##")) + "".join(rng.choices("abc", k=rng.randint(1, 4)))
            for _ in range(rng.randint(1, 40))
        }
        _assert_splits(_vocab(" ".join(sorted(pieces))), words)


@pytest.mark.parametrize("casing", [True, False], ids=["uncased", "cased"])
def test_every_piece(golden_vocabs, casing):
    vocab = load_vocab(golden_vocabs[casing])
    letters = [piece.removeprefix("##") for piece in vocab]
    _assert_splits(vocab, letters + ["x" + piece for piece in letters[::3]])


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def tokenizers(request, random_vocabs):
    """Python's, and in core ops, of a vocabulary that splits most random texts."""
    arguments = random_vocabs[request.param], request.param
    return FullTokenizer(*arguments), GraphTokenizer(*arguments, ops="core")


def _differing(full: FullTokenizer, core: GraphTokenizer, texts: list[str]) -> list:
    ids = core.tokenize(texts).to_list()
    return [
        text
        for text, row in zip(texts, ids, strict=True)
        if row != full.convert_tokens_to_ids(full.tokenize(text))
    ]


def test_random_texts(tokenizers, random_vocabs, random_texts):
    full, core = tokenizers
    texts = random_texts[:4000]
    assert not _differing(full, core, texts)
    casing = full.basic_tokenizer.do_lower_case
    tf_text = GraphTokenizer(random_vocabs[casing], casing)
    found = core.tokenize_with_lengths(texts)
    expected = tf_text.tokenize_with_lengths(texts)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype == tf.int32
        assert ours.to_list() == theirs.to_list()


@pytest.mark.acceptance
def test_texts_of_all_characters(tokenizers, measured):
    rng = random.Random(12)
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    letters = "".join(tokenizers[0].vocab).replace("#", "")
    texts = [
        "".join(rng.choices(rng.choice((chars, letters)), k=rng.randint(0, 40)))
        for _ in range(20_000)
    ]
    measured(
        f"of {len(texts):,} texts of all characters, tokenized unlike by core ops",
        len(_differing(*tokenizers, texts)),
        at_most=0,
    )


def test_batches_of_any_size(golden_vocabs, random_texts):
    core = GraphTokenizer(golden_vocabs[False], False, ops="core")
    texts = random_texts[:300]
    expected = core.tokenize(texts)
    tokenize = tf.function(
        core.tokenize, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    assert tokenize(texts).to_list() == expected.to_list()
    assert tokenize(tf.constant([], tf.string)).to_list() == []
    assert tokenize(["", " ", "\0"]).to_list() == [[], [], []]
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(64)
    batches = list(dataset.map(core.tokenize, num_parallel_calls=2))
    assert tf.concat(batches, axis=0).to_list() == expected.to_list()


# tests/serving/test_exports.py does so with exports.
@pytest.mark.acceptance
def test_saved_model_without_tf_text(golden_texts, golden_vocabs, tmp_path):
    """Needs no op but TensorFlow's, and holds one trie however often it is used."""
    texts = [case["text"] for case in golden_texts]
    core = GraphTokenizer(golden_vocabs[True], ops="core")
    module = tf.Module()
    module.tokenizer = core
    spec = [tf.TensorSpec([None], tf.string, "strings")]
    module.functions = {
        "ids": tf.function(lambda x: core.tokenize(x).to_tensor(), spec),
        "lengths": tf.function(
            lambda x: core.tokenize_with_lengths(x)[1].to_tensor(), spec
        ),
    }
    folder = tmp_path / "model"
    tf.saved_model.save(module, str(folder), module.functions)
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    constants = [node.attr["value"].tensor.tensor_content for node in nodes]
    assert constants.count(build_trie(core.vocab).keys.tobytes()) == 1

    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        input=json.dumps([str(folder), golden_vocabs[True], texts]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = tf.ragged.constant(
        [[core.vocab[piece] for piece in case["uncased"]] for case in golden_texts]
    )
    assert json.loads(done.stdout) == [expected.to_tensor().numpy().tolist()] * 3
