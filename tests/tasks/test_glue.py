"""GLUE's and XNLI's files: guids, labels and features as Google's scripts had them."""

import json

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.config import BertConfig
from bert_tf.errors import DataError
from bert_tf.tasks.classification import ClassificationTask, DataProcessor
from bert_tf.tasks.glue import (
    ColaProcessor,
    MnliProcessor,
    MrpcProcessor,
    RteProcessor,
    Sst2Processor,
    StsbProcessor,
    XnliProcessor,
)
from bert_tf.tokenization import GraphTokenizer
from bert_tf.tools.run_classifier import main

PROCESSORS = {
    "MRPC": MrpcProcessor,
    "CoLA": ColaProcessor,
    "MNLI": MnliProcessor,
    "XNLI": XnliProcessor,
}
SETS = [
    (task, name)
    for task in PROCESSORS
    for name in ("train", "dev", "test")
    if (task, name) != ("XNLI", "test")
]


@pytest.fixture(scope="module")
def golden(testdata) -> dict:
    return json.loads((testdata / "classifier.json").read_text())


@pytest.fixture(scope="module")
def golden_features(testdata) -> dict[str, np.ndarray]:
    with np.load(testdata / "classifier_features.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def tokenizer(testdata) -> GraphTokenizer:
    return GraphTokenizer(str(testdata / "vocab_uncased.txt"))


def read(processor: DataProcessor, name: str, data_dir) -> list:
    return getattr(processor, f"get_{name}_examples")(str(data_dir))


def features(task: ClassificationTask, examples: list) -> dict[str, np.ndarray]:
    batches = list(task.features(examples))
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


@pytest.mark.parametrize(("task", "name"), SETS)
def test_guids_and_features_are_googles(
    testdata, golden, golden_features, tokenizer, task, name
):
    processor = PROCESSORS[task]()
    assert processor.get_labels() == golden["guids"][task]["labels"]
    examples = read(processor, name, testdata / "glue" / task)
    assert [x.guid for x in examples] == golden["guids"][task][name]
    config = BertConfig.from_json_file(testdata / "bert_config.json")
    length = golden["max_seq_length"]
    made = features(
        ClassificationTask(
            task, config, tokenizer, processor.get_labels(), length, processor.is_pair
        ),
        examples,
    )
    expected = {
        key.removeprefix(f"{task}/{name}/"): value
        for key, value in golden_features.items()
        if key.startswith(f"{task}/{name}/")
    }
    expected["label_ids"] = expected.pop("label_id")
    assert (made.pop("is_real_example") == 1).all()
    assert made.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(made[key], value, key)


def test_every_golden_array_is_compared(golden_features):
    assert {tuple(key.split("/")[:2]) for key in golden_features} == set(SETS)


def test_sources_name_the_line(testdata):
    path = testdata / "glue/MRPC/dev.tsv"
    examples = MrpcProcessor().get_dev_examples(str(path.parent))
    lines = path.read_text().split("\n")
    for example in examples:
        source, line = example.source.split(", line ")
        assert source == str(path)
        assert lines[int(line) - 1].split("\t")[3] == example.text_a


def test_sst2_in_glues_layout(tmp_path):
    (tmp_path / "train.tsv").write_text('sentence\tlabel\na fine film \t1\n"dull\t0\n')
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nfun\t1\n")
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\tlong\n1\tshort\n")
    processor = Sst2Processor()
    assert processor.get_labels() == ["0", "1"]
    seen = {
        name: [(x.guid, x.text_a, x.text_b) for x in read(processor, name, tmp_path)]
        for name in ("train", "dev", "test")
    }
    assert seen == {
        "train": [("train-1", "a fine film ", None), ("train-2", '"dull', None)],
        "dev": [("dev-1", "fun", None)],
        "test": [("test-1", "long", None), ("test-2", "short", None)],
    }
    labels = [x.label for x in processor.get_train_examples(str(tmp_path))]
    assert labels == ["1", "0"]


def test_rte_in_glues_layout(tmp_path):
    header = "index\tsentence1\tsentence2\tlabel\n"
    (tmp_path / "train.tsv").write_text(
        f'{header}0\ta "b\tc\tnot_entailment\n1\td\te\tentailment\n'
    )
    (tmp_path / "dev.tsv").write_text(f"{header}7\tf\tg\tentailment\n")
    (tmp_path / "test.tsv").write_text("index\tsentence1\tsentence2\n4\th\ti\n")
    processor = RteProcessor()
    assert processor.get_labels() == ["entailment", "not_entailment"]
    seen = [
        (x.guid, x.text_a, x.text_b, x.label)
        for name in ("train", "dev", "test")
        for x in read(processor, name, tmp_path)
    ]
    assert seen == [
        ("train-0", 'a "b', "c", "not_entailment"),
        ("train-1", "d", "e", "entailment"),
        ("dev-7", "f", "g", "entailment"),
        ("test-4", "h", "i", "entailment"),
    ]


def test_stsb_in_glues_layout(tmp_path):
    header = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\t"
    header += "sentence1\tsentence2\tscore\n"
    start = "main-captions\tMSRvid\t2012test\t0001\tnone\tnone\t"
    (tmp_path / "train.tsv").write_text(f'{header}0\t{start}a "b\tc\t3.800\n')
    (tmp_path / "test.tsv").write_text(
        header.replace("\tscore", "") + f"5\t{start}d\te\n"
    )
    processor = StsbProcessor()
    assert processor.label_kind == "regression" and processor.get_labels() == []
    seen = [
        (x.guid, x.text_a, x.text_b, float(x.label))
        for name in ("train", "test")
        for x in read(processor, name, tmp_path)
    ]
    assert seen == [("train-0", 'a "b', "c", 3.8), ("test-5", "d", "e", 0.0)]


def test_a_language_that_xnli_lacks_names_those_it_has(testdata, tmp_path):
    with pytest.raises(DataError, match=r"'xx'.*xnli\.dev\.tsv.*fr, zh"):
        XnliProcessor("xx").get_dev_examples(str(testdata / "glue/XNLI"))
    with pytest.raises(DataError, match=r"multinli\.train\.xx\.tsv"):
        XnliProcessor("xx").get_train_examples(str(testdata / "glue/XNLI"))


def test_another_language_of_xnli(testdata):
    [example] = XnliProcessor("fr").get_dev_examples(str(testdata / "glue/XNLI"))
    assert (example.guid, example.text_a, example.label) == (
        "dev-2",
        "Le chat",
        "neutral",
    )


@pytest.mark.parametrize(
    ("task", "file", "row"),
    [
        ("MRPC", "dev.tsv", "1\t2\t3\tonly one sentence"),
        ("CoLA", "dev.tsv", "gj04\t1\t*"),
        ("MNLI", "dev_matched.tsv", "0\tp\tq\tg\tb\tb\tp\tp\ttext"),
        ("XNLI", "xnli.dev.tsv", "zh\tneutral\ttext"),
    ],
)
def test_a_short_row_is_named(tmp_path, testdata, task, file, row):
    good = (testdata / "glue" / task / file).read_text().split("\n")
    (tmp_path / file).write_text("\n".join([*good[:2], row, ""]))
    with pytest.raises(DataError) as error:
        PROCESSORS[task]().get_dev_examples(str(tmp_path))
    assert f"{tmp_path / file}, line 3" in str(error.value)
    assert "sentence" in str(error.value)


def decoded(path) -> list[dict[str, list[int]]]:
    """Reads records with nothing but the protocol buffer."""
    rows = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        rows.append({key: list(feature[key].int64_list.value) for key in feature})
    return rows


def test_mrpc_records_are_those_that_google_published(real_data, tmp_path, measured):
    bert = real_data / "checkpoints/splade_tiny_uncased_L-2_H-128_A-2"
    flags = {
        "task_name": "MRPC",
        "data_dir": real_data / "glue/MRPC",
        "bert_config_file": bert / "bert_config.json",
        "vocab_file": bert / "vocab.txt",
        "init_checkpoint": bert / "bert_model.ckpt",
        "output_dir": tmp_path / "output",
        "do_eval": "true",
    }
    assert main([f"--{name}={value}" for name, value in flags.items()]) == 0
    ours = decoded(tmp_path / "output" / "eval.tf_record")
    expected = decoded(
        real_data / "reference_outputs/run_classifier_mrpc_eval.tf_record"
    )
    assert len(ours) == len(expected) == 408
    measured(
        "of 408 MRPC records, unlike Google's",
        sum(a != b for a, b in zip(ours, expected, strict=True)),
        at_most=0,
    )


@pytest.mark.parametrize(
    ("folder", "processor", "counts"),
    [
        ("CoLA", ColaProcessor(), {"train": 8551, "dev": 1043, "test": 1063}),
        ("MRPC", MrpcProcessor(), {"train": 3668, "dev": 408, "test": 1725}),
        ("RTE", RteProcessor(), {"train": 2490, "dev": 277, "test": 3000}),
        ("SST-2", Sst2Processor(), {"dev": 872, "test": 1821}),
        ("XNLI", XnliProcessor("zh"), {"dev": 2490}),
    ],
)
def test_the_published_files_have_their_published_sizes(
    real_data, folder, processor, counts
):
    for name, count in counts.items():
        examples = read(processor, name, real_data / "glue" / folder)
        assert len(examples) == count
        assert len({x.guid for x in examples}) == count
        assert {x.label for x in examples} <= set(processor.get_labels())
        assert all(x.text_a.strip() for x in examples)


def test_stsb_as_published(real_data):
    """Means and correlation as other programs read them."""
    for name, count in (("train", 5749), ("dev", 1500), ("test", 1379)):
        examples = read(StsbProcessor(), name, real_data / "glue/STS-B")
        assert len({x.guid for x in examples}) == len(examples) == count
        scores = [float(x.label) for x in examples]
        assert 0 <= min(scores) <= max(scores) <= 5
        if name != "test":
            # Equal sentences are rated alike.
            same = [
                s for x, s in zip(examples, scores, strict=True) if x.text_a == x.text_b
            ]
            assert len(set(scores)) > 20 and (not same or min(same) > 4)
        assert all(x.text_a.strip() and x.text_b.strip() for x in examples)
