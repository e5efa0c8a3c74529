"""GLUE's and XNLI's files: guids, labels and features as Google's scripts had them."""

import json

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.config import BertConfig
from bert_tf.errors import DataError
from bert_tf.tasks.classification import ClassificationTask, DataProcessor
from bert_tf.tasks.glue import PROCESSORS as BY_NAME
from bert_tf.tasks.glue import (
    AxProcessor,
    ColaProcessor,
    GlueExample,
    MnliMismatchedProcessor,
    MnliProcessor,
    MrpcProcessor,
    QnliProcessor,
    QqpProcessor,
    RteProcessor,
    Sst2Processor,
    StsbProcessor,
    WnliProcessor,
    XnliProcessor,
)
from bert_tf.tokenization import GraphTokenizer
from bert_tf.tools.classifier_flags import TASKS, ClassifierConfig
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


def everything(processor: DataProcessor, data_dir) -> list[tuple]:
    """Returns guid, texts and label of the examples of all sets."""
    return [
        (x.guid, x.text_a, x.text_b, x.label)
        for name in ("train", "dev", "test")
        for x in read(processor, name, data_dir)
    ]


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
    assert everything(processor, tmp_path) == [
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


@pytest.mark.parametrize("which", ["matched", "mismatched"])
def test_mnli_in_glues_layout(tmp_path, which):
    """Its dev sets hold five annotators' labels before the one that counts."""
    start = "{}\tp\t{}e\tfiction\t( a )\t( b )\t(A a)\t(B b)\t"
    header = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\t"
    header += "sentence2_binary_parse\tsentence1_parse\tsentence2_parse\t"
    header += "sentence1\tsentence2"
    (tmp_path / "train.tsv").write_text(
        f"{header}\tlabel1\tgold_label\n{start.format(0, 3)}a b\tc\tneutral\tneutral\n"
    )
    votes = "\t".join(["neutral"] * 4 + ["entailment"])
    (tmp_path / f"dev_{which}.tsv").write_text(
        f"{header}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n"
        f"{start.format(0, 5)}d\te\t{votes}\tcontradiction\n"
    )
    (tmp_path / f"test_{which}.tsv").write_text(
        f"{header}\n{start.format(9815, 6)}f\tg\n"
    )
    processor = MnliProcessor() if which == "matched" else MnliMismatchedProcessor()
    assert everything(processor, tmp_path) == [
        ("train-0", "a b", "c", "neutral"),
        (f"dev_{which}-0", "d", "e", "contradiction"),
        ("test-9815", "f", "g", "contradiction"),
    ]


def test_qqp_in_glues_layout(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    (tmp_path / "train.tsv").write_text(
        f'{header}133273\t213221\t213222\tHow "so?\tWhy?\t0\n'
    )
    (tmp_path / "dev.tsv").write_text(f"{header}201359\t303345\t303346\tA?\tB?\t1\n")
    (tmp_path / "test.tsv").write_text("id\tquestion1\tquestion2\n0\tC?\tD?\n")
    processor = QqpProcessor()
    assert processor.is_pair and processor.get_labels() == ["0", "1"]
    assert everything(processor, tmp_path) == [
        ("train-133273", 'How "so?', "Why?", "0"),
        ("dev-201359", "A?", "B?", "1"),
        ("test-0", "C?", "D?", "0"),
    ]


def test_rows_of_qqp_that_are_in_pieces_are_passed_over_and_counted(tmp_path, caplog):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    pieces = '2\t3\t4\t"Was he real?\n\tWhat is the evidence?\t0\n'
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text(
            f"{header}1\t1\t2\tA?\tB?\t1\n{pieces}5\t6\t7\tE?\tF?\t0\n"
        )
        with caplog.at_level("WARNING"):
            examples = read(QqpProcessor(), name, tmp_path)
        assert [x.guid for x in examples] == [f"{name}-1", f"{name}-5"]
        assert "passed over 2 of 4 rows" in caplog.text
        assert f"{tmp_path / name}.tsv, line 3" in caplog.text
    # A submission has to have all rows.
    (tmp_path / "test.tsv").write_text("id\tquestion1\tquestion2\n0\tC?\n")
    with pytest.raises(DataError, match=r"second sentence.*test\.tsv, line 2"):
        QqpProcessor().get_test_examples(str(tmp_path))


@pytest.mark.parametrize(
    ("processor", "columns", "labels"),
    [
        (QnliProcessor(), "question\tsentence", ["entailment", "not_entailment"]),
        (WnliProcessor(), "sentence1\tsentence2", ["0", "1"]),
    ],
)
def test_qnli_and_wnli_in_glues_layout(tmp_path, processor, columns, labels):
    for name, number in (("train", 3), ("dev", 4)):
        (tmp_path / f"{name}.tsv").write_text(
            f"index\t{columns}\tlabel\n{number}\ta\tb\t{labels[1]}\n"
        )
    (tmp_path / "test.tsv").write_text(f"index\t{columns}\n5\tc\td\n")
    assert processor.is_pair and processor.get_labels() == labels
    assert everything(processor, tmp_path) == [
        ("train-3", "a", "b", labels[1]),
        ("dev-4", "a", "b", labels[1]),
        ("test-5", "c", "d", labels[0]),
    ]


@pytest.mark.parametrize("name", ["AX.tsv", "diagnostic.tsv"])
def test_the_diagnostic_set_in_glues_layout(tmp_path, name):
    with pytest.raises(DataError, match=f"AX.tsv or diagnostic.tsv in {tmp_path}"):
        AxProcessor().get_test_examples(str(tmp_path))
    (tmp_path / name).write_text("index\tsentence1\tsentence2\n0\ta\tb\n1\tb\ta\n")
    assert AxProcessor().get_labels() == MnliProcessor().get_labels()
    seen = [(x.guid, x.text_a, x.text_b) for x in read(AxProcessor(), "test", tmp_path)]
    assert seen == [("test-0", "a", "b"), ("test-1", "b", "a")]


# Task -> its folder with a test file of GLUE's layout, what the model predicts for its
# two rows, and the file that gluebenchmark.com asks for.
SUBMISSIONS = {
    "cola": ("index\tsentence", ["0", "1"], "CoLA"),
    "sst-2": ("index\tsentence", ["1", "1"], "SST-2"),
    "mrpc": ("index\t#1 ID\t#2 ID\t#1 String\t#2 String", ["1", "0"], "MRPC"),
    "sts-b": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        [np.float32(5.21), -0.5],
        "STS-B",
    ),
    "qqp": ("id\tquestion1\tquestion2", ["0", "1"], "QQP"),
    "mnli": (10, ["neutral", "contradiction"], "MNLI-m"),
    "mnli-mm": (10, ["entailment", "neutral"], "MNLI-mm"),
    "ax": ("index\tsentence1\tsentence2", ["neutral", "entailment"], "AX"),
    "qnli": ("index\tquestion\tsentence", ["not_entailment", "entailment"], "QNLI"),
    "rte": ("index\tsentence1\tsentence2", ["entailment", "entailment"], "RTE"),
    "wnli": ("index\tsentence1\tsentence2", ["1", "0"], "WNLI"),
}


@pytest.mark.parametrize("task", BY_NAME)
def test_submissions_are_as_glues_site_takes_them(tmp_path, task):
    columns, predicted, name = SUBMISSIONS[task]
    count = columns if isinstance(columns, int) else columns.count("\t") + 1
    # Not the order of the rows: the file's own numbers count.
    rows = ["\t".join([index, *["text"] * (count - 1)]) for index in ("7", "3")]
    header = columns if isinstance(columns, str) else "\t".join(["index"] * count)
    file = {
        "mnli": "test_matched",
        "mnli-mm": "test_mismatched",
        "ax": "diagnostic",
    }.get(task, "test")
    (tmp_path / f"{file}.tsv").write_text("\n".join([header, *rows, ""]))
    processor = BY_NAME[task]()
    examples = processor.get_test_examples(str(tmp_path))
    answers = ["5.000", "0.000"] if task == "sts-b" else predicted
    assert processor.submission(examples, predicted) == {
        f"{name}.tsv": f"index\tprediction\n7\t{answers[0]}\n3\t{answers[1]}\n"
    }


def test_scores_are_submitted_as_numbers_from_0_to_5():
    examples = [GlueExample(f"test-{i}", "a", "b", index=str(i)) for i in range(3)]
    files = StsbProcessor().submission(examples, np.array([0.25, 4.9996, 3.1416]))
    assert files["STS-B.tsv"].split("\n")[1:] == [
        "0\t0.250",
        "1\t5.000",
        "2\t3.142",
        "",
    ]


def test_every_task_has_a_name_and_people_spell_them_in_many_ways():
    assert set(TASKS) == {*BY_NAME, "xnli", "custom"}
    spellings = {
        "SST2": "sst-2",
        "sst_2": "sst-2",
        "STSB": "sts-b",
        "sts_b": "sts-b",
        "MNLI_Matched": "mnli",
        "MNLI-m": "mnli",
        "mnli_mismatched": "mnli-mm",
        "mnli-mismatched": "mnli-mm",
        "mnli_mm": "mnli-mm",
        "diagnostic": "ax",
        "QNLI": "qnli",
        "my_Own": "my_own",
    }
    for spelling, task in spellings.items():
        config = ClassifierConfig(
            task_name=spelling, bert_config_file="", vocab_file="", output_dir=""
        )
        assert config.task == task


def test_a_language_that_xnli_lacks_names_those_it_has(testdata, tmp_path):
    with pytest.raises(DataError, match=r"'xx'.*xnli\.dev\.tsv.*fr, zh"):
        XnliProcessor("xx").get_dev_examples(str(testdata / "glue/XNLI"))
    with pytest.raises(DataError, match=r"'xx'.*multinli\.train\.xx\.tsv.*of zh;"):
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
