"""One's own files: columns by name or number, labels learned, a part held out."""

import json

import pytest

from bert_tf.errors import DataError
from bert_tf.tasks.custom import Columns, CustomProcessor

NUMBERS = Columns(text_a="0", label="1")
NAMES = Columns(text_a="text", label="label")
PAIR = Columns(text_a="text", text_b="other", label="label")


@pytest.fixture
def folder(tmp_path):
    """Writes files; returns their folder."""

    def write(**files: str | bytes) -> str:
        for name, content in files.items():
            stem, extension = name.rsplit("_", 1)
            path = tmp_path / f"{stem}.{extension}"
            path.write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
        return str(tmp_path)

    return write


def train(columns: Columns, data_dir: str, **kwargs) -> list[tuple]:
    examples = CustomProcessor(columns, **kwargs).get_train_examples(data_dir)
    return [(x.text_a, x.text_b, x.label) for x in examples]


TWO = [("good film", None, "pos"), ("bad film", None, "neg")]


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("train_tsv", "good film\tpos\nbad film\tneg\n", NUMBERS),
        ("train_tsv", "text\tlabel\ngood film\tpos\nbad film\tneg\n", NAMES),
        ("train_tsv", "id\tlabel\ttext\n1\tpos\tgood film\n2\tneg\tbad film\n", NAMES),
        ("train_csv", 'label,text\npos,"good film"\nneg,bad film\n', NAMES),
        ("train_csv", '"good film","pos"\nbad film,neg\n', NUMBERS),
        (
            "train_jsonl",
            '{"label": "pos", "text": "good film"}\n'
            '{"text": "bad film", "label": "neg", "id": 7}\n',
            NAMES,
        ),
        (
            "train_tsv",
            "text\tlabel\ngood film\tpos\nbad film\tneg\n",
            Columns("0", label="1", header=True),
        ),
        (
            "train_tsv",
            "1\t2\npos\tgood film\nneg\tbad film\n",
            Columns("2", label="1", header=True),
        ),
    ],
    ids=[
        "tsv_by_number",
        "tsv_by_name",
        "tsv_other_order",
        "csv_by_name",
        "csv_by_number",
        "jsonl",
        "numbers_below_a_header",
        "a_name_that_is_a_number",
    ],
)
def test_the_same_two_rows_in_every_format(folder, name, content, columns):
    assert train(columns, folder(**{name: content})) == TWO


def test_without_header_a_first_line_of_names_would_be_data(folder):
    data_dir = folder(train_tsv="text\tlabel\ngood film\tpos\nbad film\tneg\n")
    rows = train(Columns("0", label="1", header=False), data_dir)
    assert rows == [("text", None, "label"), *TWO]


def test_guids_and_sources_name_row_and_line(folder):
    data_dir = folder(train_tsv="text\tlabel\na\t1\n\nb\t0\n")
    examples = CustomProcessor(NAMES).get_train_examples(data_dir)
    assert [x.guid for x in examples] == ["train-0", "train-1"]
    assert [x.source for x in examples] == [
        f"{data_dir}/train.tsv, line {line}" for line in (2, 4)
    ]


def test_pairs(folder):
    data_dir = folder(train_csv='text,other,label\na,"b, c",x\nd,,y\n')
    assert train(PAIR, data_dir) == [("a", "b, c", "x"), ("d", "", "y")]
    assert CustomProcessor(PAIR).is_pair and not CustomProcessor(NAMES).is_pair


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["b", "a", "c", "a"], ["a", "b", "c"]),
        ([10, 9, 1, 9], ["1", "10", "9"]),
        ([True, False, True], ["false", "true"]),
        ([1.0, -1], ["-1", "1.0"]),
        (["1", 1, 0], ["0", "1"]),
        (["Ä", "Z", "a", "中"], ["Z", "a", "Ä", "中"]),
    ],
)
def test_labels_are_learned_and_sorted(folder, values, labels):
    rows = [{"text": "x", "label": value} for value in values]
    data_dir = folder(train_jsonl="\n".join(map(json.dumps, rows)))
    processor = CustomProcessor(NAMES)
    examples = processor.get_train_examples(data_dir)
    assert processor.get_labels() == labels
    for value, example in zip(values, examples, strict=True):
        assert example.label in (value, json.dumps(value))


def test_a_null_second_text_is_none(folder):
    rows = '{"text":"a","other":null,"label":0}\n{"text":"b","other":"c","label":1}\n'
    assert train(PAIR, folder(train_jsonl=rows)) == [("a", None, "0"), ("b", "c", "1")]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"other": "b", "label": 1}', ["'text'", "other, label", "--text_a"]),
        ('{"text": "b", "other": "c"}', ["'label'", "--label"]),
        ('{"text": null, "other": "c", "label": 1}', ["'text'", "null"]),
        ('{"text": 5, "other": "c", "label": 1}', ["'text'", "5"]),
        ('{"text": "b", "other": ["c"], "label": 1}', ["'other'", '["c"]']),
        ('{"text": "b", "other": "c", "label": null}', ["a label", "'label'", "null"]),
        ('{"text": "b", "other": "c", "label": {"x": 1}}', ["a label", '{"x": 1}']),
        ('{"text": "b", "other": "c", "label": ""}', ["a label", "empty"]),
        ('["b"]', ["JSON object"]),
        ("{}", ["'label'", "found none"]),
    ],
)
def test_faults_of_a_json_line(folder, line, says):
    data_dir = folder(train_jsonl=f'{{"text":"a","other":"c","label":0}}\n{line}\n')
    with pytest.raises(DataError) as error:
        train(PAIR, data_dir)
    for part in [*says, f"{data_dir}/train.jsonl, line 2"]:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        ("text\tlabel\na\t1\nb\n", NAMES, ["the column of --label", "line 3"]),
        ("text\tlabel\na\t1\nb\t\n", NAMES, ["a label", "line 3", "empty"]),
        ("a\t1\nb\t0\n", Columns("5", label="1"), ["--text_a in column 5", "line 1"]),
        ("sentence\tlabel\na\t1\n", NAMES, ["'text'", "sentence, label", "--text_a"]),
        ("text\tclass\na\t1\n", NAMES, ["'label'", "text, class", "--label"]),
        ("a\t1\n", Columns("text", label="1", header=False), ["'text'", "no header"]),
        ("text\tlabel\n", NAMES, ["rows below the header"]),
        ("a\tx\nb\tx\n", NUMBERS, ["two labels", "'x'", "--label=1"]),
        ("", NUMBERS, ["empty file"]),
        (b"a\t1\nb\xe9\t0\n", NUMBERS, ["line 2", r"\xe9"]),
    ],
)
def test_faults_of_a_table(folder, content, columns, says):
    data_dir = folder(train_tsv=content)
    with pytest.raises(DataError) as error:
        train(columns, data_dir)
    for part in [*says, f"{data_dir}/train.tsv"]:
        assert part in str(error.value)


def test_a_file_of_any_name_goes_before_the_folders(folder, tmp_path):
    data_dir = folder(
        train_tsv="x\t1\ny\t0\n", mine_txt="good film,pos\nbad film,neg\n"
    )
    columns = Columns("0", label="1", file_format="csv")
    assert train(columns, data_dir, files={"train": f"{data_dir}/mine.txt"}) == TWO
    assert train(columns, "", files={"train": f"{data_dir}/mine.txt"}) == TWO
    assert [row[2] for row in train(NUMBERS, data_dir)] == ["1", "0"]


def test_missing_files_are_named_with_their_flags(folder):
    data_dir = folder()
    processor = CustomProcessor(NAMES, labels=["a", "b"])
    for read, name, flag in (
        (processor.get_train_examples, "train", "--train_file"),
        (processor.get_dev_examples, "dev", "--dev_file"),
        (processor.get_test_examples, "test", "--test_file"),
    ):
        with pytest.raises(DataError) as error:
            read(data_dir)
        assert f"{data_dir}/{name}.tsv" in str(error.value) and flag in str(error.value)


def test_files_to_predict_need_no_label(folder):
    data_dir = folder(
        train_tsv="text\tlabel\ngood\tpos\nbad\tneg\n", test_tsv="text\nfine\nill\n"
    )
    processor = CustomProcessor(NAMES)
    processor.get_train_examples(data_dir)
    examples = processor.get_test_examples(data_dir)
    assert [(x.guid, x.text_a) for x in examples] == [
        ("test-0", "fine"),
        ("test-1", "ill"),
    ]
    assert {x.label for x in examples} <= {"neg", "pos"}


def test_labels_given_are_kept_in_their_order(folder):
    data_dir = folder(train_tsv="good\tpos\nbad\tneg\n", test_tsv="x\n")
    processor = CustomProcessor(NUMBERS, labels=["pos", "neg", "mixed"])
    processor.get_test_examples(data_dir)
    processor.get_train_examples(data_dir)
    assert processor.get_labels() == ["pos", "neg", "mixed"]
    with pytest.raises(DataError, match="labels"):
        CustomProcessor(NUMBERS).get_labels()


# Several labels per example, and numbers.


def kind_and_labels(columns: Columns, data_dir: str, **kwargs) -> tuple:
    processor = CustomProcessor(columns, **kwargs)
    examples = processor.get_train_examples(data_dir)
    return processor.label_kind, processor.get_labels(), [x.label for x in examples]


def test_several_labels_in_a_field(folder):
    data_dir = folder(train_tsv="x\ta|b\ny\t\nz\tb | c\nw\tb\nv\tc|c\n")
    assert kind_and_labels(NUMBERS, data_dir) == (
        "multi",
        ["a", "b", "c"],
        [["a", "b"], [], ["b", "c"], ["b"], ["c", "c"]],
    )
    other = folder(train_tsv="x\ta;b\ny\ta|b\n")
    assert kind_and_labels(NUMBERS, other, label_separator=";")[2] == [
        ["a", "b"],
        ["a|b"],
    ]


def test_several_labels_in_a_list(folder):
    values = [["b", "a"], [], "b", "", [1, True], 2.5]
    lines = [json.dumps({"text": "x", "label": value}) for value in values]
    assert kind_and_labels(NAMES, folder(train_jsonl="\n".join(lines))) == (
        "multi",
        ["1", "2.5", "a", "b", "true"],
        [["b", "a"], [], ["b"], [], ["1", "true"], ["2.5"]],
    )
    # Text alone is one label, whatever it holds.
    lines = [json.dumps({"text": "x", "label": value}) for value in ("a|b", "c")]
    assert kind_and_labels(NAMES, folder(train_jsonl="\n".join(lines))) == (
        "single",
        ["a|b", "c"],
        ["a|b", "c"],
    )


def test_numbers_of_which_one_is_not_whole(folder):
    data_dir = folder(train_tsv="x\t3.8\ny\t-2\nz\t1e1\n")
    assert kind_and_labels(NUMBERS, data_dir) == (
        "regression",
        [],
        ["3.8", "-2", "1e1"],
    )
    single = kind_and_labels(NUMBERS, data_dir, label_kind="single")
    assert single[:2] == ("single", ["-2", "1e1", "3.8"])


@pytest.mark.parametrize(
    ("label_kind", "found"),
    [
        ("auto", ("single", ["1", "5"], ["1", "5", "1"])),
        ("regression", ("regression", [], ["1", "5", "1"])),
        ("multi", ("multi", ["1", "5"], [["1"], ["5"], ["1"]])),
    ],
)
def test_whole_numbers_are_classes_unless_said_otherwise(folder, label_kind, found):
    data_dir = folder(train_tsv="x\t1\ny\t5\nz\t1\n")
    assert kind_and_labels(NUMBERS, data_dir, label_kind=label_kind) == found


def test_the_training_file_decides_for_the_others(folder):
    data_dir = folder(
        train_tsv="x\ta|b\ny\tc\n", dev_jsonl='{"0": "z", "1": "c"}', test_tsv="w\n"
    )
    processor = CustomProcessor(NUMBERS)
    processor.get_train_examples(data_dir)
    assert [x.label for x in processor.get_dev_examples(data_dir)] == [["c"]]
    assert [x.label for x in processor.get_test_examples(data_dir)] == [[]]
    later = CustomProcessor(NUMBERS, labels=[], label_kind="regression")
    assert [x.label for x in later.get_test_examples(data_dir)] == [0.0]


@pytest.mark.parametrize(
    ("files", "label_kind", "says"),
    [
        ({"train_tsv": "x\ta|b\ny\ta||b\n"}, "auto", ["got ''", "line 2"]),
        ({"train_tsv": "x\ta|a\ny\t\n"}, "auto", ["two labels", "only 'a'"]),
        ({"train_tsv": "x\t\ny\t\n"}, "multi", ["two labels", "only empty ones"]),
        ({"train_tsv": "x\ta\ny\t\n"}, "auto", ["a label", "line 2", "empty"]),
        ({"train_tsv": "x\t1.5\ny\t\n"}, "regression", ["a label", "line 2"]),
        ({"train_tsv": "x\t1.5\ny\t1.5\n"}, "auto", ["two labels", "'1.5'"]),
        (
            {"train_jsonl": '{"0":"x","1":["a","b"]}\n{"0":"x","1":["a|b"]}'},
            "auto",
            ["'a|b'", "line 2", "--label_separator"],
        ),
        (
            {"train_jsonl": '{"0":"x","1":"a"}\n{"0":"x","1":["a"]}'},
            "single",
            ["one label", "['a']", "line 2", "--label_kind=multi"],
        ),
        (
            {"train_jsonl": '{"0":"x","1":["a"]}\n{"0":"x","1":["a",null]}'},
            "auto",
            ["a label", "null", "line 2"],
        ),
    ],
)
def test_faults_of_labels(folder, files, label_kind, says):
    data_dir = folder(**files)
    with pytest.raises(DataError) as error:
        kind_and_labels(NUMBERS, data_dir, label_kind=label_kind)
    for part in [*says, f"{data_dir}/train."]:
        assert part in str(error.value)


# A part of the training file as dev set.


def rows(count: int) -> str:
    return "".join(f"text {i}\t{i % 2}\n" for i in range(count))


def split(data_dir: str, fraction: float, seed: int = 12345) -> tuple[list, list]:
    processor = CustomProcessor(NUMBERS, dev_fraction=fraction, random_seed=seed)
    return (
        [x.text_a for x in processor.get_train_examples(data_dir)],
        [x.text_a for x in processor.get_dev_examples(data_dir)],
    )


@pytest.mark.parametrize(("fraction", "held_out"), [(0.1, 10), (0.25, 25), (0.99, 99)])
def test_a_split_is_disjoint_whole_and_in_order(folder, fraction, held_out):
    data_dir = folder(train_tsv=rows(100))
    kept, dev = split(data_dir, fraction)
    assert len(dev) == held_out
    everything = [f"text {i}" for i in range(100)]
    assert sorted(kept + dev) == sorted(everything)
    assert kept == [x for x in everything if x in set(kept)]
    assert dev == [x for x in everything if x in set(dev)]
    assert dev != everything[:held_out] and dev != everything[-held_out:]


def test_a_split_is_a_function_of_the_seed(folder):
    data_dir = folder(train_tsv=rows(100))
    assert split(data_dir, 0.2) == split(data_dir, 0.2)
    assert split(data_dir, 0.2, seed=1) != split(data_dir, 0.2, seed=2)
    processor = CustomProcessor(NUMBERS, dev_fraction=0.2)
    dev = [x.text_a for x in processor.get_dev_examples(data_dir)]
    assert dev == split(data_dir, 0.2)[1]  # whichever set is read first


def test_labels_of_rows_held_out_are_labels_all_the_same(folder):
    data_dir = folder(train_tsv="a\tx\nb\ty\nc\tz\nd\tw\n")
    processor = CustomProcessor(NUMBERS, dev_fraction=0.5)
    assert len(processor.get_train_examples(data_dir)) == 2
    assert processor.get_labels() == ["w", "x", "y", "z"]


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_split_that_leaves_a_side_empty(folder, fraction):
    with pytest.raises(DataError, match=rf"--dev_fraction={fraction}.*10 training"):
        split(folder(train_tsv=rows(10)), fraction)


def test_a_dev_file_beside_a_split(folder):
    data_dir = folder(train_tsv=rows(10), dev_tsv=rows(4))
    with pytest.raises(DataError, match=r"dev\.tsv; give one"):
        split(data_dir, 0.5)
    dev = CustomProcessor(NUMBERS).get_dev_examples(data_dir)
    assert [x.text_a for x in dev] == [f"text {i}" for i in range(4)]


def test_spam_by_name(real_data):
    """A published file as it is: label first, quotes inside."""
    path = real_data / "sms_spam/SMSSpamCollection"
    header, *lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    label, text = header.split("\t")
    processor = CustomProcessor(
        Columns(text_a=text, label=label),
        files={"train": str(path)},
        dev_fraction=0.2,
    )
    kept, dev = processor.get_train_examples(""), processor.get_dev_examples("")
    assert processor.get_labels() == ["ham", "spam"]
    assert len(dev) == round(0.2 * len(lines))
    read = sorted(f"{x.label}\t{x.text_a}" for x in [*kept, *dev])
    assert read == sorted(lines)
