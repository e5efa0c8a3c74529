"""The commands of docs/tagging.md, one after the other, with a tiny random model."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  the ops of an export

from bert_tf import BertConfig, save_checkpoint
from bert_tf.modeling import BertModel
from bert_tf.tools import run_tagger
from tests.programs import ROOT
from tests.small_task import write_model_files

PAGE = (ROOT / "docs" / "tagging.md").read_text()
# Behind the page's own flags: of equal flags, the last counts.
SMALLER = ["--num_train_epochs=0.2", "--train_batch_size=8", "--max_seq_length=32"]
CONLLU = "".join(
    f"# sent_id = {number}\n"
    "1\tthe\tthe\tDET\t_\t_\t2\tdet\t_\t_\n"
    "2\tsun\tsun\tNOUN\t_\t_\t0\troot\t_\t_\n\n"
    for number in range(40)
)
SENTENCE = "Mary Shelley wrote Frankenstein in Geneva."


def commands() -> list[list[str]]:
    found = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("bert-tf run_tagger "):
                found.append(shlex.split(line)[2:])
            else:
                assert line.startswith(("#", "...")), line
    return found


@pytest.fixture
def files(tmp_path: Path, testdata: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the page's reader has."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples" / "tagging", "examples/tagging")
    for name in ("BERT", "UD"):
        Path(name).mkdir()
    for name in ("train", "dev"):
        Path(f"UD/{name}.conllu").write_text(CONLLU)
    Path("sentences.txt").write_text(f"{SENTENCE}\n")
    small = {"num_hidden_layers": 1, "max_position_embeddings": 128}
    write_model_files(tmp_path / "BERT", testdata, **small)
    model = BertModel(BertConfig.from_json_file("BERT/bert_config.json"))
    save_checkpoint(model, "BERT/bert_model.ckpt")
    return tmp_path


@pytest.mark.slow
@pytest.mark.acceptance
def test_the_commands_do_what_the_page_says(files, capsys):
    entities, parts, tag, tag_text, export = commands()
    for arguments in (entities, parts):
        code = run_tagger.main([*arguments, *SMALLER])
        assert code == 0, capsys.readouterr().err[-2000:]
    results = Path("OUTPUT/eval_results.txt").read_text()
    said = set(re.findall(r"`(eval_\w+)`", PAGE.split("## What is measured")[1]))
    names = {line.split(" = ")[0] for line in results.splitlines()} - {"global_step"}
    assert names == said - {"eval_report"}
    assert "eval_f1" not in Path("POS/eval_results.txt").read_text()
    assert json.loads(Path("POS/labels.json").read_text()) == ["DET", "NOUN"]

    assert run_tagger.main(tag) == 0
    rows = Path("OUTPUT/predictions.conll").read_text().split("\n")
    right = [row.rsplit("\t", 1)[0] for row in rows]
    assert (
        "\n".join(right).strip()
        == Path("examples/tagging/dev.conll").read_text().strip()
    )
    assert "eval_f1" in Path("OUTPUT/predict_results.txt").read_text()

    assert run_tagger.main(tag_text) == 0
    predicted = json.loads(Path("OUTPUT/predictions.jsonl").read_text())
    (shown,) = re.findall(r"^\{\"text\".*?\]\}$", PAGE, re.S | re.M)
    shown = json.loads(shown.replace(", ...", ""))
    assert predicted.keys() == shown.keys() and predicted["text"] == shown["text"]
    assert predicted["words"][0].keys() == shown["words"][0].keys()
    for each in (*shown["words"], *shown["entities"]):
        part = SENTENCE[each["start"] : each["end"]]
        assert part == each.get("word", each.get("text"))

    assert run_tagger.main(export) == 0
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(example, {})
    printed = capsys.readouterr().out
    assert "Frankenstein" in printed
    assert tf.io.gfile.exists("EXPORT/1/saved_model.pb")
