"""The graph tokenizer against the Python one."""

import random

import pytest
import tensorflow as tf

from bert_tf.errors import ConfigError, DataError
from bert_tf.tokenization import FullTokenizer, GraphTokenizer

_NAMES = ("input_ids", "input_mask", "segment_ids")


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def pair(request, random_vocabs):
    """Both tokenizers, of a vocabulary that splits most of the random texts."""
    arguments = random_vocabs[request.param], request.param
    return FullTokenizer(*arguments), GraphTokenizer(*arguments)


def _assert_equal_ids(full: FullTokenizer, graph: GraphTokenizer, texts) -> None:
    differing = _differing(full, graph, texts)
    assert not differing, differing[:3]


def _differing(full: FullTokenizer, graph: GraphTokenizer, texts) -> list[tuple]:
    """Returns `(text, graph's ids, full's ids)` where the two differ."""
    found = []
    texts = [t.encode() if isinstance(t, str) else t for t in texts]
    for first in range(0, len(texts), 4096):
        batch = texts[first : first + 4096]
        ids = graph.tokenize(tf.constant(batch))
        assert ids.dtype == tf.int32
        for text, row in zip(batch, ids.to_list(), strict=True):
            expected = full.convert_tokens_to_ids(full.tokenize(text))
            if row != expected:
                found.append((text, row, expected))
    return found


@pytest.mark.parametrize("ops", ["tf_text", "core"])
def test_golden_texts(golden_texts, golden_vocabs, ops):
    texts = tf.constant([case["text"] for case in golden_texts])
    for casing, name in ((True, "uncased"), (False, "cased")):
        graph = GraphTokenizer(golden_vocabs[casing], casing, ops)
        expected = [[graph.vocab[p] for p in case[name]] for case in golden_texts]
        assert graph.tokenize(texts).to_list() == expected


def test_random_texts(pair, random_texts, measured):
    differing = _differing(*pair, random_texts)
    measured(
        f"of {len(random_texts):,} random texts, tokenized unlike",
        len(differing),
        at_most=0,
    )


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("ops", ["tf_text", "core"])
@pytest.mark.parametrize("casing", [True, False], ids=["uncased", "cased"])
def test_every_code_point_without_exception(golden_vocabs, casing, ops, measured):
    full = FullTokenizer(golden_vocabs[casing], casing)
    graph = GraphTokenizer(golden_vocabs[casing], casing, ops)
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = [
        "\n".join(f"{char}\na{char}b" for char in chars[first : first + 64])
        for first in range(0, len(chars), 64)
    ]
    differing = _differing(full, graph, texts)
    measured(
        f"of all {len(chars):,} code points, groups tokenized unlike by {ops}",
        len(differing),
        at_most=0,
    )


def test_random_bytes(pair):
    rng = random.Random(11)
    # Bytes that begin, continue, break off, overlong and surrogate-coded sequences.
    edges = b"ab \x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xed\xef\xf0\xf4\xf5\xff"
    texts = [bytes(rng.choices(edges, k=rng.randint(0, 12))) for _ in range(20_000)]
    texts += [rng.randbytes(rng.randint(0, 30)) for _ in range(5_000)]
    texts += [b"\xc0\xaf", b"\xed\xa0\x80x", b"\xf4\x90\x80\x80", b"\xe2\x82", b"a\0b"]
    _assert_equal_ids(*pair, texts)


def test_wordpiece_op_is_greedy_for_any_vocabulary(tmp_path):
    rng = random.Random(5)
    words = ["".join(rng.choices("abc", k=rng.randint(1, 9))) for _ in range(2000)]
    for trial in range(20):
        pieces = {
            rng.choice(("", "##")) + "".join(rng.choices("abc", k=rng.randint(0, 4)))
            for _ in range(rng.randint(1, 40))
        }
        path = tmp_path / f"{trial}.txt"
        path.write_text("\n".join(["[UNK]", *sorted(pieces), ""]))
        _assert_equal_ids(FullTokenizer(str(path)), GraphTokenizer(str(path)), words)


def test_very_long_pieces(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[UNK]", "x" * 200, "##x", "x" * 300, "ab"]))
    words = ["x" * length for length in (199, 200, 201, 300)] + ["ab", "abx"]
    _assert_equal_ids(FullTokenizer(str(path)), GraphTokenizer(str(path)), words)
    path.write_text("[UNK]\na\n##" + "中" * 90, "utf-8")
    with pytest.raises(DataError, match="line 3 has 270"):
        GraphTokenizer(str(path))
    core = GraphTokenizer(str(path), ops="core")
    assert core.tokenize(["a" + "中" * 90]).to_list() == [[1] + 90 * [0]]


def test_edges(pair):
    full, graph = pair
    empty = graph.tokenize(tf.constant([], tf.string))
    assert empty.to_list() == [] and empty.dtype == tf.int32
    assert graph.tokenize(["", " ", "\0"]).to_list() == [[], [], []]
    packed = graph.pack(tf.constant([], tf.string), tf.constant([], tf.string), 8)
    assert all(packed[name].shape == [0, 8] for name in _NAMES)
    packed = graph.pack(tf.constant([], tf.string), pad_to_max=False)
    assert all(packed[name].shape == [0, 2] for name in _NAMES)
    long_texts = ["word, " * 2000, "a" * 10_000, "\u0301" * 10_000, "Σ" * 200 + " Σ"]
    _assert_equal_ids(full, graph, long_texts)


@pytest.mark.parametrize("max_seq_length", [3, 4, 5, 8, 13, 64])
def test_pack_equals_encode(pair, random_texts, max_seq_length):
    full, graph = pair
    text_a, text_b = random_texts[:600], random_texts[600:1200]
    text_b[::5] = ["", " \u0301", "\0"] * 40
    for second in (None, text_b):
        packed = graph.pack(text_a, second, max_seq_length)
        tight = graph.pack(text_a, second, max_seq_length, pad_to_max=False)
        longest = 0
        for row in range(len(text_a)):
            expected = full.encode(
                text_a[row],
                None if second is None else second[row],
                max_length=max_seq_length,
                padding="max_length",
            )
            longest = max(longest, sum(expected["input_mask"]))
            for name in _NAMES:
                assert packed[name][row].numpy().tolist() == expected[name]
        for name in _NAMES:
            assert packed[name].dtype == tf.int32
            tf.debugging.assert_equal(tight[name], packed[name][:, :longest])


def test_saved_model_and_dataset(pair, random_texts, tmp_path):
    _, graph = pair
    texts = tf.constant(random_texts[:1000])
    expected = graph.pack(texts, texts[::-1], 32)

    class Serving(tf.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer = graph

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2)
        def __call__(self, text_a, text_b):
            return self.tokenizer.pack(text_a, text_b, 32)

    tf.saved_model.save(Serving(), str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model"))(texts, texts[::-1])
    dataset = tf.data.Dataset.from_tensor_slices((texts, texts[::-1])).batch(100)
    dataset = dataset.map(lambda a, b: graph.pack(a, b, 32), num_parallel_calls=2)
    assert dataset.element_spec["input_ids"].shape == [None, 32]
    batches = list(dataset)
    for name in _NAMES:
        tf.debugging.assert_equal(served[name], expected[name])
        joined = tf.concat([batch[name] for batch in batches], axis=0)
        tf.debugging.assert_equal(joined, expected[name])


def test_refusals(golden_vocabs, tmp_path):
    with pytest.raises(ConfigError, match="got 'text'; pass one of them"):
        GraphTokenizer(golden_vocabs[True], ops="text")
    graph = GraphTokenizer(golden_vocabs[True])
    with pytest.raises(ConfigError, match="3 special pieces, but got max_seq_length=2"):
        graph.pack(["a"], ["b"], max_seq_length=2)
    with pytest.raises(DataError, match="as many second texts"):
        graph.pack(["a", "b"], ["c"])
    path = tmp_path / "vocab.txt"
    path.write_text("a\nb\n")
    with pytest.raises(DataError, match=r"\[UNK\]"):
        GraphTokenizer(str(path))
    path.write_text("a\n[UNK]\n[CLS]\n")
    assert GraphTokenizer(str(path)).tokenize(["a x"]).to_list() == [[0, 1]]
    with pytest.raises(DataError, match=r"\[SEP\]"):
        GraphTokenizer(str(path)).pack(["a"])


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    [
        "uncased",
        *(
            pytest.param(x, marks=pytest.mark.acceptance)
            for x in ("multi_cased", "chinese")
        ),
    ],
)
def test_googles_vocabularies_on_387_languages(name, real_data, all_characters):
    arguments = str(real_data / "vocab" / f"{name}_vocab.txt"), name != "multi_cased"
    full, graph = FullTokenizer(*arguments), GraphTokenizer(*arguments)
    text = (real_data / "text" / "udhr_387_languages.txt").read_bytes()
    _assert_equal_ids(full, graph, text.split(b"\n")[::4])
    _assert_equal_ids(full, graph, all_characters)
