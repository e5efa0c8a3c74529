"""Bad input of run_squad ends in one sentence; nothing on the disk has changed."""

import copy
import json
from typing import Any

import pytest

from bert_tf.tools import run_squad
from tests.small_task import as_arguments, write_model_files

CONTEXT = "The keeper climbed the stairs every evening before the sun went down."
GOOD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": f"q{number}",
                            "question": f"Who climbed {number} stairs?",
                            "answers": [{"text": "The keeper", "answer_start": 0}],
                        }
                        for number in range(4)
                    ],
                }
            ]
        }
    ]
}
PARAGRAPH = ("data", 0, "paragraphs", 0)
QA = (*PARAGRAPH, "qas", 1)
ANSWER = (*QA, "answers", 0)
ABSENT = object()


class Place:
    """A folder with all that a run needs, and the flags of a good run."""

    def __init__(self, root, testdata):
        self.root = root
        write_model_files(
            root,
            testdata,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
        self.file = str(root / "squad.json")
        self.write(json.dumps(GOOD))
        self.flags: dict[str, str | None] = {
            "bert_config_file": str(root / "bert_config.json"),
            "vocab_file": str(root / "vocab.txt"),
            "output_dir": str(root / "out"),
            "train_file": self.file,
            "predict_file": self.file,
            "max_seq_length": "40",
            "max_query_length": "16",
            "train_batch_size": "2",
            "num_train_epochs": "0.5",
            "do_train": "true",
        }

    def write(self, content: str | bytes) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        (self.root / "squad.json").write_bytes(data)

    def change(self, path: tuple, value: Any) -> None:
        """Writes the good file with another value at a path, or without any."""
        data = copy.deepcopy(GOOD)
        place: Any = data
        for key in path[:-1]:
            place = place[key]
        if value is ABSENT:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        self.write(json.dumps(data))

    def everything(self) -> dict[str, bytes | None]:
        return {
            str(path): path.read_bytes() if path.is_file() else None
            for path in self.root.rglob("*")
        }

    def run(self, **flags: str | None) -> int:
        return run_squad.main(as_arguments({**self.flags, **flags}))


@pytest.fixture
def place(tmp_path, testdata) -> Place:
    return Place(tmp_path, testdata)


def assert_refused(place, capsys, *says: str, **flags: str | None) -> None:
    before = place.everything()
    assert place.run(**flags) == 1
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    line = errors.rstrip("\n").split("\n")[-1]
    assert line.startswith("run_squad: Expected ")
    for part in says:
        assert part in line
    assert place.everything() == before


def train_and_predict(place, **flags: str | None) -> int:
    return place.run(do_predict="true", predict_batch_size="4", **flags)


def read(place, name: str) -> str:
    return (place.root / "out" / name).read_text()


def test_what_cannot_be_trained_on_is_counted_named_and_left_out(place, capsys):
    """This run is good: without it, the tests below could pass for another reason."""
    data = copy.deepcopy(GOOD)
    qas = data["data"][0]["paragraphs"][0]["qas"]
    qas[0]["answers"][0]["answer_start"] = 4
    qas[1]["answers"][0]["answer_start"] = 10_000
    qas[2]["answers"][0]["answer_start"] = -5
    qas += [{**qas[3], "id": f"more {number}"} for number in range(3)]
    empty = {"context": " ", "qas": [{**qas[3], "id": "empty"}]}
    data["data"][0]["paragraphs"].append(empty)
    place.write(json.dumps(data))
    assert train_and_predict(place) == 0
    log = capsys.readouterr().err
    assert "4 of 8 questions" in log and place.file in log
    assert "q0 ('The keeper'), q1 ('The keeper'), q2 ('The keeper'), empty" in log
    assert "train: 4 questions in 4 windows" in log
    predictions = json.loads(read(place, "predictions.json"))
    assert list(predictions) == [*(x["id"] for x in qas), "empty"]
    assert predictions["empty"] == "empty"  # the release's word for it
    assert {"exact_match", "f1"} == {
        line.split(" = ")[0] for line in read(place, "predict_results.txt").splitlines()
    }


def test_all_that_are_left_out_are_named_if_asked(place, capsys):
    data = copy.deepcopy(GOOD)
    answer = {"text": "nobody", "answer_start": 0}
    data["data"][0]["paragraphs"][0]["qas"] = [
        {"id": f"<{number}>", "question": "Who?", "answers": [answer]}
        for number in range(12)
    ]
    place.write(json.dumps(data))
    for flags, named in (({}, 10), ({"verbose_logging": "true"}, 12)):
        assert place.run(**flags) == 1
        log = capsys.readouterr().err
        assert [f"<{number}>" in log for number in (9, 10)] == [True, named > 10]
        assert (", ..." in log) == (named == 10)
        assert "Expected at least one question to train with" in log.splitlines()[-1]
    assert not (place.root / "out").exists()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("data",), ABSENT, ["'data' to be a list", "found none in"]),
        (("data",), {"paragraphs": []}, ["'data' to be a list", "{'paragraphs'"]),
        (("data", 0), "text", ["'paragraphs' to be a list", "none in data[0] of"]),
        (("data", 0, "paragraphs"), 5, ["'paragraphs' to be a list", "found 5"]),
        (PARAGRAPH, [], ["'context' to be a text", "data[0].paragraphs[0] of"]),
        ((*PARAGRAPH, "context"), 5, ["'context' to be a text", "found 5"]),
        ((*PARAGRAPH, "qas"), ABSENT, ["'qas' to be a list", "none"]),
        (QA, None, ["'id'", "found none in data[0].paragraphs[0].qas[1] of"]),
        ((*QA, "id"), ABSENT, ["'id' to be a text or a whole number", "qas[1] of"]),
        ((*QA, "id"), True, ["'id' to be a text or a whole number", "found True"]),
        ((*QA, "id"), "q0", ["id of its own", "'q0' twice"]),
        ((*QA, "question"), ABSENT, ["'question' to be a text", "question 'q1' of"]),
        ((*QA, "answers"), ABSENT, ["'answers' to be a list", "question 'q1' of"]),
        ((*QA, "answers"), [], ["one answer", "found 0", "--version_2_with_negative"]),
        ((*QA, "answers"), GOOD["data"] * 2, ["'text' to be a text", "found none"]),
        (
            (*QA, "answers"),
            [{"text": "The", "answer_start": 0}] * 2,
            ["one answer", "found 2", "question 'q1' of"],
        ),
        ((*ANSWER, "text"), 5, ["'text' to be a text", "found 5"]),
        (
            (*ANSWER, "answer_start"),
            "0",
            ["'answer_start' to be a whole number", "found '0'", "question 'q1' of"],
        ),
        ((*ANSWER, "answer_start"), False, ["to be a whole number", "found False"]),
        ((*ANSWER, "answer_start"), ABSENT, ["to be a whole number", "found none"]),
        (("data",), [], ["at least one question to train with", "found none"]),
    ],
)
def test_files_of_another_shape(place, capsys, path, value, says):
    place.change(path, value)
    assert_refused(place, capsys, *says, place.file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("context: none", ["JSON", "line 1 column 1"]),
        ("", ["JSON"]),
        ("[" * 100_000, ["JSON"]),
        (b'{"data": "caf\xe9"}', ["JSON", "0xe9"]),
        ("[]", ["'data' to be a list", "found none"]),
    ],
    ids=["text", "empty", "deep", "latin-1", "list"],
)
def test_files_that_are_none(place, capsys, content, says):
    place.write(content)
    assert_refused(place, capsys, *says, place.file)


def test_missing_files_and_folders(place, capsys):
    nowhere, folder = str(place.root / "nowhere.json"), str(place.root)
    for path in (nowhere, folder):
        assert_refused(place, capsys, "SQuAD's format", path, train_file=path)
    predict = {"do_predict": "true", "predict_file": nowhere}
    assert_refused(place, capsys, "SQuAD's format", nowhere, **predict)


def test_versions_and_flags_that_contradict_each_other(place, capsys):
    assert_refused(
        place,
        capsys,
        "'is_impossible' to be true or false",
        "leave out --version_2_with_negative",
        version_2_with_negative="true",
    )
    (place.root / "train.json").write_text(json.dumps(GOOD))
    place.change((*QA, "answers"), [])
    assert_refused(
        place,
        capsys,
        "answers to all questions",
        place.file,
        "--version_2_with_negative",
        train_file=str(place.root / "train.json"),
        do_eval="true",
    )


def test_a_model_of_2_0_that_is_used_without_saying_so(place, capsys):
    data = copy.deepcopy(GOOD)
    for qa in data["data"][0]["paragraphs"][0]["qas"]:
        qa["is_impossible"] = False
    place.write(json.dumps(data))
    assert place.run(version_2_with_negative="true") == 0
    assert "every question gets an answer" not in capsys.readouterr().err
    assert place.run(do_train=None, do_predict="true") == 0
    assert "every question gets an answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"max_seq_length": "19"}, ["at least 20", "--max_query_length=16", "19"]),
        ({"max_seq_length": "81"}, ["max_position_embeddings=80", "81"]),
        ({"max_seq_length": None, "max_query_length": "381"}, ["at least 385", "384"]),
        ({"train_file": None}, ["--train_file"]),
        ({"do_eval": "true", "predict_file": None}, ["--predict_file"]),
        ({"do_predict": "true", "predict_file": ""}, ["--predict_file"]),
        ({"do_train": None}, ["--do_train", "--do_predict", "--export_dir"]),
        ({"train_batch_size": "8"}, ["one batch of 8", "4 questions in 4 windows"]),
        ({"do_eval": "true", "best_metric": "exact"}, ["exact_match, f1", "'exact'"]),
    ],
)
def test_flags(place, capsys, flags, says):
    assert_refused(place, capsys, *says, **flags)


@pytest.mark.parametrize(
    "name", ["n_best_size", "max_answer_length", "doc_stride", "max_query_length"]
)
def test_counts_start_at_one(place, capsys, name):
    assert place.run(**{name: "0"}) == 1
    line = capsys.readouterr().err.rstrip("\n").split("\n")[-1]
    assert line.startswith("run_squad: ") and f"{name}=0" in line
    assert not (place.root / "out").exists()


def test_without_the_evaluators(place, capsys, monkeypatch):
    """An evaluation fails at once; predictions are written, without scores."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    install = ["tf-models-official", "bert-tf[squad]", "--no-deps"]
    assert_refused(place, capsys, *install, do_eval="true")
    assert train_and_predict(place) == 0
    assert "no scores of what was predicted: Expected tf-models" in (
        capsys.readouterr().err
    )
    assert json.loads(read(place, "predictions.json")).keys() == {
        f"q{number}" for number in range(4)
    }
    assert not (place.root / "out" / "predict_results.txt").exists()


def test_contexts_without_words(place, capsys):
    (place.root / "train.json").write_text(json.dumps(GOOD))
    place.change((*PARAGRAPH, "context"), " ")
    assert_refused(
        place,
        capsys,
        "text to predict with",
        "4 questions in 0 windows",
        train_file=str(place.root / "train.json"),
        do_predict="true",
    )
