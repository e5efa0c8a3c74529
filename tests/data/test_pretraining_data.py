"""Records against Google's own, the plain procedure, and each other."""

import dataclasses
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.data.instances import ReleaseInstances
from bert_tf.data.pretraining_config import PretrainingDataConfig
from bert_tf.data.pretraining_data import create_pretraining_data
from bert_tf.data.records import (
    pretraining_features,
    unmasked_features,
    write_serialized,
)
from bert_tf.errors import ConfigError, DataError
from bert_tf.tokenization.full_tokenizer import FullTokenizer
from bert_tf.tokenization.segmentation import ChineseWords, sentence_splitter
from tests.plain_pretraining import create_instances, read_documents, serialize

TESTDATA = Path(__file__).resolve().parents[1] / "testdata"
CORPUS = TESTDATA / "corpus.txt"
VOCAB = TESTDATA / "vocab_uncased.txt"
GOLDEN = ("default", "whole_word_mask", "cased_two_outputs")


def config_for(folder, **changes) -> PretrainingDataConfig:
    return PretrainingDataConfig(
        **{
            "input_file": str(CORPUS),
            "output_file": str(folder / "records"),
            "vocab_file": str(VOCAB),
            "max_seq_length": 64,
            "max_predictions_per_seq": 10,
            "dupe_factor": 2,
            **changes,
        }
    )


def read(path, config) -> dict[str, np.ndarray]:
    spec = pretraining_features(config.max_seq_length, config.max_predictions_per_seq)
    if config.unmasked:
        spec = unmasked_features(config.max_seq_length)
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    return {
        name: values.numpy()
        for name, values in tf.io.parse_example(records, spec).items()
    }


def golden(name, folder, **changes):
    """The config of a golden set, and its records by file."""
    args = json.loads((TESTDATA / f"pretraining_data_{name}.json").read_text())
    outputs = [str(folder / f"records-{i}") for i in range(args.pop("outputs"))]
    assert args.pop("name") == name
    casing = "uncased" if args["do_lower_case"] else "cased"
    config = config_for(
        folder,
        output_file=",".join(outputs),
        vocab_file=str(TESTDATA / f"vocab_{casing}.txt"),
        **args | changes,
    )
    arrays = np.load(TESTDATA / f"pretraining_data_{name}.npz")
    files = [
        {key.split("/")[1]: arrays[key] for key in arrays if key.startswith(f"{i}/")}
        for i in range(len(outputs))
    ]
    return config, files


@pytest.mark.parametrize("name", GOLDEN)
def test_the_reference_is_googles(tmp_path, name):
    config, files = golden(name, tmp_path)
    create_pretraining_data(config)
    for path, expected in zip(config.output_files, files, strict=True):
        found = read(path, config)
        assert sorted(found) == sorted(expected)
        for feature, values in expected.items():
            np.testing.assert_array_equal(found[feature], values, err_msg=feature)


# Masks of whole words draw other numbers, and with them other pairs.
@pytest.mark.parametrize("name", ["default", "cased_two_outputs"])
def test_unmasked_pairs_are_googles_before_masking(tmp_path, name):
    config, files = golden(name, tmp_path, unmasked=True)
    create_pretraining_data(config)
    for path, expected in zip(config.output_files, files, strict=True):
        found = read(path, config)
        rows, columns = np.nonzero(expected["masked_lm_weights"])
        at = rows, expected["masked_lm_positions"][rows, columns]
        expected["input_ids"][at] = expected["masked_lm_ids"][rows, columns]
        for feature, values in found.items():
            np.testing.assert_array_equal(values, expected[feature], err_msg=feature)


@pytest.mark.real_data
def test_the_reference_is_the_published_run(tmp_path, real_data):
    config = config_for(
        tmp_path,
        input_file=str(real_data / "reference_outputs/sample_text.txt"),
        vocab_file=str(real_data / "vocab/uncased_vocab.txt"),
        max_seq_length=128,
        max_predictions_per_seq=20,
        dupe_factor=5,
    )
    create_pretraining_data(config)
    published = (
        real_data / "reference_outputs/create_pretraining_data_sample_text.tfrecord"
    )
    found, expected = read(config.output_file, config), read(published, config)
    assert len(expected["input_ids"]) == 60
    for feature, values in expected.items():
        np.testing.assert_array_equal(found[feature], values, err_msg=feature)


ODD_TEXT = (
    "\ufeffA byte order mark stands before this.\r\n"
    "A carriage\rreturn in the middle.\n"
    "\u3000 \x85\x1c\n"  # blank, to Python
    "\u00a0Two spaces of no break.\u2028One line, still.\n"
    "\u200b\n"  # not blank, but without pieces
    "Behind a line without pieces.\n"
    "x" * 3 + " y" * 400 + "\n"
    "\n\n \n"
    "Über naïve Σίσυφος, 你好 world!\n"
    "unaffable unbelievably\n"
)
MORE_TEXT = "It goes on in the next file. \n\nAnd ends without a line end."


@pytest.mark.parametrize("seed", range(6))
def test_the_reference_is_the_plain_procedure(tmp_path, seed):
    """On texts and settings that the golden sets do not have."""
    draws = random.Random(seed)
    lines = CORPUS.read_text(encoding="utf-8").splitlines(keepends=True)
    texts = {"a.txt": ODD_TEXT, "b.txt": MORE_TEXT, "c.txt": "".join(lines[seed:70])}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
    args = {
        "max_seq_length": draws.choice([5, 6, 17, 64, 200]),
        "max_predictions_per_seq": draws.choice([1, 3, 40]),
        "masked_lm_prob": draws.choice([0.0, 0.15, 0.5, 1.0]),
        "short_seq_prob": draws.choice([0.0, 0.3, 1.0]),
        "dupe_factor": draws.choice([1, 3]),
        "do_whole_word_mask": seed % 2 == 0,
    }
    config = config_for(
        tmp_path / "out",
        input_file=f"{tmp_path}/[ab].txt,{tmp_path}/c.txt",
        random_seed=seed,
        **args,
    )
    create_pretraining_data(config)
    tokenizer = FullTokenizer(str(VOCAB))
    documents = read_documents([tmp_path / name for name in texts], tokenizer)
    expected = create_instances(
        documents, list(tokenizer.vocab), args, random.Random(seed)
    )
    assert len(expected) > len(documents)
    records = tf.data.TFRecordDataset(config.output_file).as_numpy_iterator()
    for record, instance in zip(records, expected, strict=True):
        found = tf.train.Example.FromString(record)
        assert found == tf.train.Example.FromString(
            serialize(instance, tokenizer, args)
        )


class MarkedTokenizer:
    """Marks ideographs that go on with a word, for the plain procedure to know them."""

    mark = "##\0"

    def __init__(self, vocab_file: str):
        self._tokenizer = FullTokenizer(vocab_file)
        self._words = ChineseWords(self._tokenizer)
        self.vocab = self._tokenizer.vocab

    def tokenize(self, text: str) -> list[str]:
        ids, continues = self._words.tokenize(text)
        pieces = self._tokenizer.convert_ids_to_tokens(ids)
        return [
            self.mark + piece if goes_on and not piece.startswith("##") else piece
            for piece, goes_on in zip(pieces, continues, strict=True)
        ]

    def convert_tokens_to_ids(self, tokens) -> list[int]:
        return [self.vocab[token.removeprefix(self.mark)] for token in tokens]


CHINESE = (
    "2013年，他在北京大学学习计算机科学。毕业以后，他去了上海工作！\n\n"
    "中华人民共和国首都是北京。天安门广场在市中心。“真的吗？”她问道。\n"
    "unaffable 玻璃窗户外面下着大雨；我们留在家里。\n\n"
)


def test_words_of_jieba_are_masked_whole(tmp_path):
    text, vocab = tmp_path / "text", tmp_path / "vocab"
    text.write_text(CHINESE * 3)
    known = sorted(set("".join(CHINESE.split())) - set("留雨广"))  # others are unknown
    vocab.write_text("\n".join([*VOCAB.read_text().split("\n")[:900], *known]))
    config = config_for(
        tmp_path / "out",
        input_file=str(text),
        vocab_file=str(vocab),
        masking="whole_word",
        word_segmenter="jieba",
        masked_lm_prob=0.4,
        check_casing=False,
    )
    create_pretraining_data(config)
    tokenizer = MarkedTokenizer(str(vocab))
    args = dataclasses.asdict(config) | {"do_whole_word_mask": True}
    expected = create_instances(
        read_documents([text], tokenizer),
        list(tokenizer.vocab),
        args,
        random.Random(config.random_seed),
    )
    marks = sum(
        token.startswith(tokenizer.mark)
        for instance in expected
        for token in instance.unmasked
    )
    assert marks > 50
    records = tf.data.TFRecordDataset(config.output_file).as_numpy_iterator()
    for record, instance in zip(records, expected, strict=True):
        assert tf.train.Example.FromString(record) == tf.train.Example.FromString(
            serialize(instance, tokenizer, args)
        )


@pytest.mark.parametrize("mode", ["reference", "stream"])
def test_paragraphs_are_split_into_sentences(tmp_path, mode):
    split = sentence_splitter("zh")
    paragraphs = CHINESE.replace("\n\n", "\0").replace("\n", "").split("\0")
    (tmp_path / "paragraphs").write_text("\n\n".join(paragraphs))
    lines = ["\n".join(split(paragraph)) for paragraph in paragraphs]
    (tmp_path / "sentences").write_text("\n\n".join(lines))
    assert sum(map(len, map(split, paragraphs))) > 5
    found = []
    for name, changes in (
        ("paragraphs", {"sentence_split": True, "language": "zh"}),
        ("sentences", {}),
        ("paragraphs", {}),
    ):
        config = config_for(
            tmp_path / str(len(found)),
            input_file=str(tmp_path / name),
            mode=mode,
            **changes,
        )
        create_pretraining_data(config)
        found.append(contents(config))
    assert found[0] == found[1] != found[2]


def test_a_document_ends_with_its_file_in_stream_only(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text("One sentence.\n\nAnother one.\nAnd a third.")
    changes = {"input_file": f"{tmp_path}/[ab]"}
    for mode, documents in (("reference", 3), ("stream", 4)):
        config = config_for(tmp_path / mode, mode=mode, **changes)
        counts = create_pretraining_data(config)["counts"]
        assert (counts["documents"], counts["segments"]) == (documents, 6)


def interrupted(config, monkeypatch) -> Path:
    """Leaves what a run leaves that is killed before its first record is written."""

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bert_tf.data.pretraining_data.write_shards", stop)
        with pytest.raises(KeyboardInterrupt):
            create_pretraining_data(config)
    return Path(config.folder) / ".pretraining-data"


@pytest.mark.parametrize("mode", ["reference", "stream"])
@pytest.mark.parametrize("what", ["text", "spill", "note"])
def test_what_was_spilled_is_used_only_if_it_is_whole(
    tmp_path, monkeypatch, mode, what
):
    text = tmp_path / "text"
    text.write_bytes(CORPUS.read_bytes())
    config = config_for(tmp_path / "out", input_file=str(text), mode=mode)
    work = interrupted(config, monkeypatch)
    pieces = work / "pieces"
    size = pieces.stat().st_size
    if what == "text":  # as long as before
        text.write_bytes(CORPUS.read_bytes().replace(b"the", b"and"))
    elif what == "spill":
        pieces.write_bytes(pieces.read_bytes()[: size // 2])
    else:
        (work / "corpus.json").write_text("{")
    create_pretraining_data(config)
    clean = config_for(tmp_path / "clean", input_file=str(text), mode=mode)
    create_pretraining_data(clean)
    assert contents(config) == contents(clean)
    assert not work.exists()


def test_what_a_killed_run_was_writing_is_removed(tmp_path, monkeypatch):
    interrupted(config_for(tmp_path, num_shards=2), monkeypatch)
    (tmp_path / ".writing-records-00000-of-00002").write_bytes(b"a part")
    create_pretraining_data(config_for(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "metadata.json",
        "records",
    ]


def test_what_was_spilled_is_used_again(tmp_path, monkeypatch):
    config = config_for(tmp_path / "out", mode="stream")
    interrupted(config, monkeypatch)

    def stop(*arguments, **values):
        raise AssertionError("tokenized again")

    monkeypatch.setattr("bert_tf.data.pretraining_data.spill_corpus", stop)
    create_pretraining_data(config)


def test_the_work_folder_can_lie_elsewhere(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    here = config_for(tmp_path / "here", mode="stream")
    there = config_for(tmp_path / "there", mode="stream", work_dir=str(scratch))
    interrupted(there, monkeypatch)
    assert len(list(scratch.glob("*/pieces"))) == 1
    for config in (here, there):
        create_pretraining_data(config)
    assert contents(here) == contents(there)
    assert list(scratch.iterdir()) == []


def test_a_shard_with_other_records_is_refused(tmp_path):
    config = config_for(tmp_path, mode="stream", num_shards=3)
    create_pretraining_data(config)
    _, second, third = map(Path, config.output_files)
    records = list(tf.data.TFRecordDataset(str(second)).as_numpy_iterator())
    write_serialized(str(second), [records[:-1]])
    third.unlink()
    with pytest.raises(DataError, match=f"Expected {len(records)} records in {second}"):
        create_pretraining_data(config)


def contents(config) -> list[bytes]:
    return [Path(path).read_bytes() for path in config.output_files]


@pytest.mark.parametrize("mode", ["reference", "stream"])
@pytest.mark.parametrize("masking", ["token", "span"])
def test_the_bytes_do_not_depend_on_the_workers(tmp_path, mode, masking):
    changes = {"mode": mode, "masking": masking, "dupe_factor": 40, "num_shards": 3}
    one = config_for(tmp_path / "one", num_workers=1, **changes)
    two = config_for(tmp_path / "two", num_workers=2, **changes)
    other = config_for(tmp_path / "other", random_seed=1, **changes)
    made = [create_pretraining_data(config) for config in (one, two, other)]
    assert made[0]["counts"]["records"] > 1024  # more than a block or two
    assert contents(one) == contents(two)
    assert not set(contents(one)) & set(contents(other))


def test_shards_hold_the_records_of_one_file_in_turn(tmp_path):
    whole = config_for(tmp_path / "whole", mode="stream", output_file=f"{tmp_path}/w/r")
    parts = config_for(tmp_path / "parts", mode="stream", num_shards=3)
    create_pretraining_data(whole)
    create_pretraining_data(parts)
    records = list(tf.data.TFRecordDataset(whole.output_files).as_numpy_iterator())
    for shard, path in enumerate(parts.output_files):
        assert path.endswith(f"records-0000{shard}-of-00003")
        found = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
        assert found == records[shard::3]


@pytest.mark.parametrize("mode", ["reference", "stream"])
def test_only_missing_shards_are_made(tmp_path, mode):
    config = config_for(tmp_path, mode=mode, num_shards=4)
    made = create_pretraining_data(config)
    before = contents(config)
    times = [Path(path).stat().st_mtime_ns for path in config.output_files]
    assert create_pretraining_data(config) == made  # nothing to do
    Path(config.output_files[2]).unlink()
    assert create_pretraining_data(config) == made
    assert contents(config) == before
    now = [Path(path).stat().st_mtime_ns for path in config.output_files]
    assert np.equal(times, now).tolist() == [True, True, False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "metadata.json",
        *(Path(path).name for path in config.output_files),
    ]


def test_the_metadata_say_what_the_records_are(tmp_path):
    config = config_for(tmp_path, mode="stream", num_shards=2, masked_lm_prob=0.2)
    made = create_pretraining_data(config)
    assert json.loads((tmp_path / "metadata.json").read_text()) == {
        "format_version": 1,
        **made,
    }
    parts = [read(path, config) for path in config.output_files]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    tokenizer = FullTokenizer(str(VOCAB))
    documents = read_documents([CORPUS], tokenizer)
    segments = [segment for document in documents for segment in document]
    pieces = [piece for segment in segments for piece in segment]
    assert made["counts"] == {
        "documents": len(documents),
        "segments": len(segments),
        "pieces": len(pieces),
        "unknown_pieces": pieces.count("[UNK]"),
        "records": len(rows["input_ids"]),
        "random_next": rows["next_sentence_labels"].sum(),
        "masked": rows["masked_lm_weights"].sum(),
    }
    lengths = rows["input_mask"].sum(axis=1)
    expected = np.bincount(lengths, minlength=config.max_seq_length + 1)
    assert made["length_histogram"] == expected.tolist()
    settings = made["settings"]
    assert settings["masking"] == "token" and settings["random_seed"] == 12345
    assert settings["inputs"][0]["bytes"] == CORPUS.stat().st_size


def documents_of(segments, documents, vocab) -> list[int | None]:
    """The document of each segment, by its ids; None where several have them."""
    texts = [
        " ".join(str(vocab[piece]) for segment in document for piece in segment)
        for document in documents
    ]
    found = []
    for segment in segments:
        ids = " ".join(map(str, segment))
        holders = [n for n, text in enumerate(texts) if f" {ids} " in f" {text} "]
        found.append(holders[0] if len(holders) == 1 else None)
    return found


def text_segments(rows) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The ids of A and of B of each row, without special pieces."""
    found = []
    for segment, first in ((0, 1), (1, 0)):
        inside = (rows["segment_ids"] == segment) & (rows["input_mask"] == 1)
        found.append(
            [
                tuple(ids[chosen][first:-1].tolist())
                for ids, chosen in zip(rows["input_ids"], inside, strict=True)
            ]
        )
    return found[0], found[1]


def write_documents(path, count, segments, seed=0):
    """Documents whose words name them, so that a pair says where it is from."""
    draws = random.Random(seed)
    words = [line for line in VOCAB.read_text().split("\n") if line.isalpha()]
    with path.open("w") as writer:
        for number in range(count):
            for _ in range(segments[number % len(segments)]):
                text = " ".join(draws.choices(words, k=draws.randint(5, 30)))
                writer.write(f"{text}\n")
            writer.write("\n")


@pytest.mark.parametrize(
    ("count", "segments", "dupe_factor"),
    [
        (2, [3], 5),
        (3, [60, 1, 1], 5),
        (150, [1], 1),
        (150, [2, 1, 1], 1),
        (100, [120, *[1] * 24], 2),
    ],
)
def test_every_document_serves_as_random_segment_about_equally(
    tmp_path, count, segments, dupe_factor
):
    write_documents(tmp_path / "texts", count, segments)
    config = config_for(
        tmp_path / "out",
        input_file=str(tmp_path / "texts"),
        mode="stream",
        unmasked=True,
        dupe_factor=dupe_factor,
        short_seq_prob=0.0,
    )
    made = create_pretraining_data(config)
    tokenizer = FullTokenizer(str(VOCAB))
    documents = read_documents([tmp_path / "texts"], tokenizer)
    rows = read(config.output_file, config)
    of_a, of_b = (
        documents_of(segments, documents, tokenizer.vocab)
        for segments in text_segments(rows)
    )
    served = np.zeros(count)
    known = 0
    for a, b, label in zip(of_a, of_b, rows["next_sentence_labels"], strict=True):
        if a is not None and b is not None:
            known += 1
            assert (a != b) == bool(label[0])
            served[b] += label[0]
    assert known > 0.8 * len(of_a)
    assert served.max() <= 3 * made["counts"]["random_next"] / count


def test_stream_goes_through_every_segment_each_time(tmp_path):
    """No text is lost: A, or an actual next B, begins at where the last one ended."""
    write_documents(tmp_path / "texts", 20, [7, 1, 30])
    config = config_for(
        tmp_path / "out",
        input_file=str(tmp_path / "texts"),
        mode="stream",
        unmasked=True,
        dupe_factor=1,
        max_seq_length=2000,
        short_seq_prob=1.0,
    )
    create_pretraining_data(config)
    rows = read(config.output_file, config)
    tokenizer = FullTokenizer(str(VOCAB))
    documents = read_documents([tmp_path / "texts"], tokenizer)
    expected = sum(len(segment) for document in documents for segment in document)
    lengths = rows["input_mask"].sum(axis=1)
    lengths_a = np.array([len(segment) for segment in text_segments(rows)[0]])
    is_actual = rows["next_sentence_labels"][:, 0] == 0
    # Long enough that nothing is truncated.
    assert (lengths < 2000).all() and is_actual.any() and not is_actual.all()
    total = lengths_a.sum() + (lengths - 3 - lengths_a)[is_actual].sum()
    assert total == expected


def test_another_file_changes_no_draw_of_a_document(tmp_path):
    """But which document serves a random segment, which is chosen among all."""
    write_documents(tmp_path / "a", 30, [7, 1, 20], seed=1)
    write_documents(tmp_path / "b", 30, [5, 2], seed=2)
    found = []
    for texts in ("a", "a,b"):
        config = config_for(
            tmp_path / str(len(texts)),
            input_file=",".join(f"{tmp_path}/{text}" for text in texts.split(",")),
            mode="stream",
        )
        create_pretraining_data(config)
        rows = read(config.output_file, config)
        is_actual = rows["next_sentence_labels"][:, 0] == 0
        found.append(
            {
                (*ids, *places, *was)
                for ids, places, was in zip(
                    rows["input_ids"][is_actual].tolist(),
                    rows["masked_lm_positions"][is_actual].tolist(),
                    rows["masked_lm_ids"][is_actual].tolist(),
                    strict=True,
                )
            }
        )
    assert len(found[0]) > 50
    assert found[0] < found[1]


def shares(config) -> dict[str, float]:
    """What the two modes should have in common."""
    made = create_pretraining_data(config)
    rows = read(config.output_file, config)
    lengths = rows["input_mask"].sum(axis=1)
    chosen = rows["masked_lm_weights"] > 0
    at = np.nonzero(chosen)[0], rows["masked_lm_positions"][chosen]
    shown, was = rows["input_ids"][at], rows["masked_lm_ids"][chosen]
    mask = FullTokenizer(config.vocab_file).vocab["[MASK]"]
    return {
        "records": made["counts"]["records"] / config.dupe_factor,
        "random": rows["next_sentence_labels"].mean(),
        "full": (lengths == config.max_seq_length).mean(),
        "short": (lengths < 0.8 * config.max_seq_length).mean(),
        "length": lengths.mean(),
        "chosen": chosen.sum() / lengths.sum(),
        "as mask": (shown == mask).mean(),
        "kept": (shown == was).mean(),
    }


# How far apart of a mean over 30 times through the small corpus, about five standard
# errors as seen between seeds of the reference.
APART = {
    "records": 0.06,
    "random": 0.06,
    "full": 0.15,
    "short": 0.35,
    "length": 0.04,
    "chosen": 0.02,
    "as mask": 0.02,
    "kept": 0.15,
}


@pytest.mark.parametrize("masking", ["token", "whole_word"])
def test_stream_makes_the_same_kind_of_records(tmp_path, masking):
    found = [
        shares(
            config_for(
                tmp_path / mode,
                mode=mode,
                masking=masking,
                dupe_factor=30,
                short_seq_prob=0.3,
            )
        )
        for mode in ("reference", "stream")
    ]
    for name, apart in APART.items():
        assert found[1][name] == pytest.approx(found[0][name], rel=apart), name


# --- What is refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "fast"}, "--mode"),
        ({"masking": "words"}, "--masking"),
        ({"max_seq_length": 4}, "--max_seq_length to be at least 5, got 4"),
        ({"dupe_factor": 0}, "--dupe_factor"),
        ({"masked_lm_prob": 1.5}, "--masked_lm_prob from 0 to 1, got 1.5"),
        ({"short_seq_prob": float("nan")}, "--short_seq_prob"),
        ({"masking": "span", "do_whole_word_mask": True}, "--do_whole_word_mask"),
        ({"masking": "span", "unmasked": True}, "either --unmasked or --masking"),
        ({"do_whole_word_mask": True, "unmasked": True}, "either --unmasked"),
        ({"word_segmenter": "jieba"}, "--masking=whole_word"),
        ({"word_segmenter": "jieba", "unmasked": True}, "either --unmasked"),
        ({"language": "de"}, "--sentence_split"),
        ({"output_file": "a,a"}, "different files"),
        ({"output_file": "a,,b"}, "names of files"),
        ({"output_file": "a/"}, "names of files"),
        ({"work_dir": "gs://bucket/a"}, "--work_dir"),
        ({"max_seq_length": 2_000_000_000}, "at most 4096"),
        ({"output_file": "x/a,y/b"}, "one folder"),
        ({"output_file": "a,b", "num_shards": 2}, "--num_shards"),
    ],
)
def test_contradictions_are_named(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        config_for(tmp_path, **changes).check()


def test_records_of_other_settings_are_not_touched(tmp_path):
    config = config_for(tmp_path)
    create_pretraining_data(config)
    before = contents(config)
    for changes, message in (
        ({"random_seed": 7}, "random_seed=12345, not 7"),
        ({"mode": "stream"}, "mode=reference, not stream"),
        ({"num_shards": 2}, "files"),
        ({"output_file": f"{tmp_path}/others"}, "files.0=records, not others"),
    ):
        with pytest.raises(ConfigError, match=message):
            create_pretraining_data(dataclasses.replace(config, **changes))
    (tmp_path / "metadata.json").unlink()
    with pytest.raises(ConfigError, match="beside the records"):
        create_pretraining_data(config)
    assert contents(config) == before


def test_a_changed_text_is_another_text(tmp_path):
    text = tmp_path / "text"
    shutil.copy(CORPUS, text)
    config = config_for(tmp_path / "out", input_file=str(text))
    create_pretraining_data(config)
    with text.open("a") as writer:
        writer.write("\nAnother document.\n")
    with pytest.raises(ConfigError, match=r"inputs\.0\.bytes"):
        create_pretraining_data(config)


@pytest.mark.parametrize(
    ("count", "segments", "max_seq_length"),
    [(20, [100], 64), (20, [100], 512), (2000, [1], 64), (2000, [1], 512)],
)
def test_the_estimate_of_memory_is_near_what_is_kept(
    tmp_path, monkeypatch, count, segments, max_seq_length
):
    write_documents(tmp_path / "texts", count, segments)
    estimates, kept = [], []
    made = ReleaseInstances.bytes_for

    def note_estimate(*arguments):
        estimates.append(made(*arguments))
        return estimates[-1]

    class Noted(ReleaseInstances):
        bytes_for = staticmethod(note_estimate)

        def __init__(self, *arguments):
            super().__init__(*arguments)
            arrays = (self._pairs, self._positions, self._shown, self._order)
            kept.append(sum(array.nbytes for array in arrays))

    monkeypatch.setattr("bert_tf.data.pretraining_data.ReleaseInstances", Noted)
    create_pretraining_data(
        config_for(
            tmp_path / "out",
            input_file=str(tmp_path / "texts"),
            max_seq_length=max_seq_length,
        )
    )
    assert 0.9 < estimates[-1] / kept[0] < 2.5


def test_too_little_memory_names_the_other_mode(tmp_path, monkeypatch):
    monkeypatch.setattr("bert_tf.host.available", lambda: 10_000)
    with pytest.raises(ConfigError, match="use --mode=stream"):
        create_pretraining_data(config_for(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    create_pretraining_data(config_for(tmp_path / "out", mode="stream"))


@pytest.mark.parametrize("mode", ["reference", "stream"])
def test_one_document_has_no_random_next(tmp_path, mode):
    text = tmp_path / "text"
    text.write_text("\n\nOne sentence.\nAnother one.\n\n \n")
    with pytest.raises(DataError, match="two documents or more"):
        create_pretraining_data(
            config_for(tmp_path / "out", input_file=str(text), mode=mode)
        )
    assert not (tmp_path / "out").exists()
