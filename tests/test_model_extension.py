"""A model with new words is the same model, which knows some words more."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import BertConfig, FullTokenizer, GraphTokenizer, load_checkpoint
from bert_tf.errors import CheckpointError, ConfigError, DataError
from bert_tf.model_extension import extend_model
from bert_tf.modeling import BertModel
from bert_tf.modeling.models import BertPretrainer

WORDS = ["covid", "xylophone", "##ainty", "雪"]
# What the old vocabulary makes of them, read off it by hand.
MADE_OF = {
    "covid": ["co", "##v", "##id"],
    "##ainty": ["##ain", "##ty"],
    "雪": ["[UNK]"],
}
TEXTS = ["The keeper climbed the stairs.", "ice, and snow", "Ünïcödé in the north"]
EMBEDDINGS, BIAS = "bert/embeddings/word_embeddings", "cls/predictions/output_bias"
FREED = {"penguins": "[unused10]", "grandfather": "[unused2]", "compiler": "[unused3]"}


@pytest.fixture(scope="module")
def old(tmp_path_factory, testdata) -> Path:
    """A pretrained model with slots, a step, three free lines and a further key."""
    folder = tmp_path_factory.mktemp("old")
    lines = (testdata / "vocab_uncased.txt").read_text("utf-8").split("\n")
    lines = [FREED.get(line, line) for line in lines]
    (folder / "vocab.txt").write_text("\n".join(lines), "utf-8")
    config = json.loads((testdata / "bert_config.json").read_text())
    (folder / "bert_config.json").write_text(json.dumps(config | {"mine": [1]}))
    reader = tf.train.load_checkpoint(str(testdata / "trained.ckpt"))
    assert any("adam_m" in x for x in reader.get_variable_to_shape_map())
    for path in testdata.glob("trained.ckpt.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def extend(old: Path, new: Path, words=WORDS, **options):
    files = [str(old / name) for name in ("bert_config.json", "vocab.txt")]
    return extend_model(*files, str(old), words, str(new), **options)


@pytest.fixture(scope="module", params=["filled", "widened"])
def new(request, old, tmp_path_factory) -> Path:
    """The same with WORDS: three in free lines and one behind, or all behind."""
    folder = tmp_path_factory.mktemp("new") / "model"
    extend(old, folder, keep_unused=request.param == "widened")
    return folder


def pieces(folder: Path) -> list[str]:
    return (folder / "vocab.txt").read_text("utf-8").split("\n")[:-1]


def tensors(prefix: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(prefix))
    return {x: reader.get_tensor(x) for x in reader.get_variable_to_shape_map()}


def test_old_lines_stay_and_free_ones_are_filled_first(old, new):
    before, after = pieces(old), pieces(new)
    changed = {i: x for i, x in enumerate(before) if after[i] != x}
    if len(after) == len(before) + 4:
        assert changed == {} and after[-4:] == WORDS
        return
    assert list(changed.values()) == [x for x in before if x in FREED.values()]
    places = [before.index(f"[unused{n}]") for n in (2, 3, 10)]
    assert [after[i] for i in places] == WORDS[:3] and after[len(before) :] == ["雪"]


def test_lines_of_the_file_stay_as_they_were_written(old, tmp_path):
    """Of Google's vocabularies, two hold lines that are empty once they are read."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for path in old.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    lines = (old / "vocab.txt").read_bytes().split(b"\n")
    lines[40:42] = "\u2028".encode(), "##\u2028".encode()
    lines[43] += b" \r"
    (folder / "vocab.txt").write_bytes(b"\n".join(lines))
    extend(folder, tmp_path / "new", ["covid"])
    lines[lines.index(b"[unused2]")] = b"covid"
    assert (tmp_path / "new" / "vocab.txt").read_bytes() == b"\n".join(lines)


def test_new_rows_are_means_and_all_else_is_as_it_was(old, new):
    before, after = tensors(old / "trained.ckpt"), tensors(new / "bert_model.ckpt")
    kept = {x for x in before if "/adam_" not in x and x != "global_step"}
    assert len(kept) == 62 and set(after) == kept
    for name in kept - {EMBEDDINGS, BIAS}:
        assert after[name].dtype == before[name].dtype
        assert after[name].tobytes() == before[name].tobytes()
    ids = {piece: index for index, piece in enumerate(pieces(old))}
    made_of = {**MADE_OF, "xylophone": ["x", "##y", "##l", "##op", "##h", "##one"]}
    names = pieces(new)
    for name in (EMBEDDINGS, BIAS):
        assert after[name].dtype == np.float32 and len(after[name]) == len(names)
        for index, piece in enumerate(names):
            if piece in made_of:
                rows = [before[name][ids[x]].astype(np.float64) for x in made_of[piece]]
                expected = sum(rows) / len(rows)
                np.testing.assert_allclose(after[name][index], expected, rtol=2e-7)
            else:
                np.testing.assert_array_equal(after[name][index], before[name][index])


def test_the_config_is_that_of_the_vocabulary(old, new):
    before = json.loads((old / "bert_config.json").read_text())
    after = json.loads((new / "bert_config.json").read_text())
    assert after == {**before, "vocab_size": len(pieces(new))}
    assert after["mine"] == [1]
    assert {x.name for x in new.iterdir()} == {
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "checkpoint",
        "vocab.txt",
    }


def test_a_config_that_stays_is_the_same_file(old, tmp_path):
    extend(old, tmp_path / "new", ["covid"])
    names = [tmp_path / "new" / "bert_config.json", old / "bert_config.json"]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_new_words_are_one_piece(new):
    vocab = str(new / "vocab.txt")
    full = FullTokenizer(vocab)
    text = "Covid, a xylophone 雪 xylophones and the xainty"
    expected = ["covid", ",", "a", "xylophone", "雪", "xylophone", "##s"]
    expected += ["and", "the", "x", "##ainty"]
    assert full.tokenize(text) == expected
    ids = [pieces(new).index(piece) for piece in expected]
    for ops in ("tf_text", "core"):
        tokenizer = GraphTokenizer(vocab, ops=ops)
        assert tokenizer.tokenize([text]).to_list() == [ids]


def outputs(folder: Path, kind, packed):
    model = kind(BertConfig.from_json_file(str(folder / "bert_config.json")))
    report = load_checkpoint(model, str(folder))
    assert not report.fresh
    return model(packed)


def test_old_texts_come_out_bit_for_bit(old, new, tmp_path):
    packed = []
    for folder in (old, new):
        tokenizer = GraphTokenizer(str(folder / "vocab.txt"))
        packed.append(tokenizer.pack(TEXTS, max_seq_length=16))
    for name, value in packed[0].items():
        np.testing.assert_array_equal(packed[1][name], value)
    assert packed[0]["input_mask"].numpy().sum() > 20
    before, after = (outputs(x, BertModel, packed[0]) for x in (old, new))
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_array_equal(after[name], before[name])


def test_old_pieces_are_as_likely_bit_for_bit(old, tmp_path):
    extend(old, tmp_path / "new", WORDS[:3])
    packed = GraphTokenizer(str(old / "vocab.txt")).pack(TEXTS, max_seq_length=16)
    packed["masked_lm_positions"] = tf.constant([[1, 2], [1, 3], [2, 4]])
    logits = [
        outputs(folder, BertPretrainer, packed)["masked_lm_logits"].numpy()
        for folder in (old, tmp_path / "new")
    ]
    names = pieces(tmp_path / "new")
    rest = [index for index, piece in enumerate(names) if piece not in WORDS]
    assert len(rest) == len(names) - 3
    np.testing.assert_array_equal(logits[1][..., rest], logits[0][..., rest])
    assert (logits[1] != logits[0]).any()


def test_a_model_without_a_head_has_only_embeddings_to_extend(testdata, tmp_path):
    files = [str(testdata / x) for x in ("bert_config.json", "vocab_uncased.txt")]
    checkpoint = testdata / "classifier_trained.ckpt"
    extended = extend_model(*files, str(checkpoint), ["covid"], str(tmp_path / "new"))
    assert extended.size == 1601
    after = tensors(tmp_path / "new" / "bert_model.ckpt")
    assert after[EMBEDDINGS].shape == (1601, 48)
    for name, value in tensors(checkpoint).items():
        if name != EMBEDDINGS:
            np.testing.assert_array_equal(after[name], value)


def test_an_empty_folder_is_filled(old, tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    (tmp_path / ".writing-new").mkdir()  # of a writer that was killed
    (tmp_path / ".writing-new" / "checkpoint").write_text("half")
    monkeypatch.chdir(tmp_path)
    extend(old, Path("new"))
    assert [x.name for x in tmp_path.iterdir()] == ["new"]
    assert len(pieces(tmp_path / "new")) == 1601


def test_checkpoints_of_other_vocabularies_are_refused(old, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    for path in old.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "vocab.txt").write_text("\n".join([*pieces(old), "onemore"]) + "\n")
    config = json.loads((old / "bert_config.json").read_text())
    (folder / "bert_config.json").write_text(json.dumps(config | {"vocab_size": 1601}))
    with pytest.raises(CheckpointError, match=r"1601 pieces .* shape \[1600, 48\]"):
        extend(folder, tmp_path / "new")
    (folder / "bert_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"Expected 1600 pieces .* has 1601 lines"):
        extend(folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_no_word_that_is_new(old, tmp_path):
    with pytest.raises(ConfigError, match=r"no pieces yet in .* all 2 of them"):
        extend(old, tmp_path / "new", ["the", "keeper"])
    assert not (tmp_path / "new").exists()
