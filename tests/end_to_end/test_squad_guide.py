"""The commands of docs/squad.md, one after the other, on a few questions.

They are made small, so that what is seen is that they go together, not what they reach.
"""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pytest

from bert_tf import BertConfig, BertSpanLabeler, save_checkpoint
from bert_tf.tasks.squad_files import read_squad_examples
from bert_tf.tools import run_squad
from tests.programs import ROOT
from tests.small_task import write_model_files

PAGE = (ROOT / "docs" / "squad.md").read_text()
SMALLER = [
    "--num_train_epochs=0.5",
    "--train_batch_size=8",
    "--predict_batch_size=32",
    "--length_buckets=128",
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


@pytest.fixture
def files(tmp_path: Path, testdata: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the page's reader has."""
    monkeypatch.chdir(tmp_path)
    Path("BERT").mkdir()
    write_model_files(
        tmp_path / "BERT",
        testdata,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=384,
    )
    model = BertSpanLabeler(BertConfig.from_json_file("BERT/bert_config.json"))
    save_checkpoint(model, "BERT/bert_model.ckpt")
    data = json.loads((testdata / "squad.json").read_text())
    for name in ("train", "dev"):
        Path(f"{name}-v2.0.json").write_text(json.dumps(data))
    for article in data["data"]:
        for paragraph in article["paragraphs"]:
            paragraph["qas"] = [qa for qa in paragraph["qas"] if qa["answers"]]
    for name in ("train", "dev"):
        Path(f"{name}-v1.1.json").write_text(json.dumps(data))
    return tmp_path


def answers(folder: str) -> dict[str, str]:
    return json.loads(Path(folder, "predictions.json").read_text())


def scores(folder: str) -> dict[str, float]:
    lines = Path(folder, "predict_results.txt").read_text().splitlines()
    return {name: float(x) for name, x in (line.split(" = ") for line in lines)}


@pytest.mark.slow
@pytest.mark.acceptance
def test_the_commands_do_what_the_page_says(files, capsys):
    page = (" ".join(block.split()) for block in blocks("sh"))
    trained, in_training, again, _, exported = [
        shlex.split(block.replace("\\", "")) for block in page
    ]
    for command in (trained, in_training, again):
        assert command[:2] == ["bert-tf", "run_squad"]
        assert run_squad.main([*command[2:], *SMALLER]) == 0, capsys.readouterr().err
        if command is in_training:
            before = scores("OUTPUT2")
    table = PAGE.split("## Scores")[1].split("The best thresholds")[0]
    said = set(re.findall(r"`(\w+)`", table)) - {"no"}
    assert said == set(scores("OUTPUT")) | set(before)
    for folder, number in (("OUTPUT", 19), ("OUTPUT2", 26)):
        assert len(answers(folder)) == number
    # As the page says: these do not depend on the threshold.
    after = scores("OUTPUT2")
    best = {name for name in before if name.startswith("best_")}
    assert len(best) == 4
    assert {name: after[name] for name in best} == {name: before[name] for name in best}
    odds = json.loads(Path("OUTPUT2/null_odds.json").read_text())
    assert all(
        (odds[key] > -1.5) == (text == "") for key, text in answers("OUTPUT2").items()
    )

    assert run_squad.main(exported[2:]) == 0, capsys.readouterr().err
    (program,) = blocks("python")
    printed = io.StringIO()
    names: dict = {}
    with contextlib.redirect_stdout(printed):
        exec(program, names)
    (example,) = blocks("json")
    context = json.loads(example)["data"][0]["paragraphs"][0]["context"]
    answer, score = printed.getvalue().rstrip("\n").rsplit(" ", 1)
    assert answer in context and float(score) == names["found"]["score"].numpy()[0]
    table = PAGE.split("## Export")[1].split("## Flags")[0]
    outputs = re.findall(r"^\| `(\w+)` \| \w+ `\[n\]`", table, re.M)
    assert set(names["found"]) == set(outputs)


def test_the_example_is_of_the_format(files):
    (example,) = blocks("json")
    Path("example.json").write_text(example)
    (found,) = read_squad_examples("example.json", True, False)
    assert (found.orig_answer_text, found.start_position) == ("The keeper", 0)
