"""The commands of docs/pretrain.md, one after the other, on a little text.

They are made small, so that what is seen is that they go together, not what they reach.
"""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from bert_tf import BertConfig, save_checkpoint
from bert_tf.checkpoint import CheckpointReader, find_checkpoint
from bert_tf.modeling import BertPretrainer
from bert_tf.tools import (
    convert_checkpoint,
    create_pretraining_data,
    fill_mask,
    learn_vocab,
    plot,
    run_pretraining,
)
from tests.programs import ROOT

PAGE = (ROOT / "docs" / "pretrain.md").read_text()
STEPS = 4
TOOLS = {
    "convert_checkpoint": convert_checkpoint.main,
    "create_pretraining_data": create_pretraining_data.main,
    "fill_mask": fill_mask.main,
    "learn_vocab": learn_vocab.main,
    "plot": plot.main,
    "run_pretraining": run_pretraining.main,
}
# A model with the positions that the page's lengths need, and little else.
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
# What makes each command small, behind its own flags: of equal flags, the last counts.
SMALLER = {
    "learn_vocab": ["--vocab_size=300", "--min_count=2"],
    "create_pretraining_data": ["--num_shards=2", "--dupe_factor=2"],
    "run_pretraining": [
        f"--num_train_steps={STEPS}",
        "--num_warmup_steps=2",
        "--train_batch_size=4",
        "--max_eval_steps=2",
        "--eval_batch_size=2",
    ],
}
TABLE = "bert/embeddings/word_embeddings"


def commands() -> list[tuple[str, list[str]]]:
    """Returns tools and arguments; a line of `...` adds to the first training."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            first, *arguments = shlex.split(line, comments=True) or ["#"]
            if first == "bert-tf":
                found.append((arguments[0], arguments[1:]))
            elif first == "...":
                training = next(a for tool, a in found if tool == "run_pretraining")
                folder = f"--output_dir=ADDED{len(found)}"
                found.append(("run_pretraining", [*training, *arguments, folder]))
            else:
                assert first == "#", line
    return found


@pytest.fixture
def files(tmp_path: Path, testdata: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the page's reader has."""
    monkeypatch.chdir(tmp_path)
    for name in ("domain", "texts", "held_out", "BERT", "MODEL"):
        (tmp_path / name).mkdir()
    for name in ("domain", "texts", "held_out"):
        shutil.copy(testdata / "corpus.txt", tmp_path / name / "1.txt")
    shutil.copy(testdata / "vocab_uncased.txt", tmp_path / "BERT" / "vocab.txt")
    (config,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    for name, vocab_size in (("BERT", 1600), ("MODEL", 300)):
        values = json.loads(config) | SMALL | {"vocab_size": vocab_size}
        (tmp_path / name / "bert_config.json").write_text(json.dumps(values))
    model = BertPretrainer(BertConfig.from_json_file("BERT/bert_config.json"))
    save_checkpoint(model, "BERT/bert_model.ckpt")
    return tmp_path


def table(path: str) -> np.ndarray:
    return CheckpointReader(find_checkpoint(path)).read(TABLE)


@pytest.mark.acceptance
def test_the_commands_do_what_the_page_says(files, capsys):
    trained = 0
    for number, (tool, arguments) in enumerate(commands()):
        added = list(SMALLER.get(tool, []))
        flags = dict(re.findall(r"--(\w+)(?:=(\S+))?", " ".join(arguments)))
        if tool == "run_pretraining":
            # Another seed each, so that fresh weights are other ones.
            added.append(f"--random_seed={number}")
        steps = STEPS
        if "init_optimizer" in flags:
            steps += 2
            added.append(f"--num_train_steps={steps}")
        if "micro_batch_size" in flags:
            added.append("--micro_batch_size=2")
        code = TOOLS[tool]([*arguments, *added])
        output = capsys.readouterr()
        assert code == 0, f"{tool} {arguments}: {output.err[-2000:]}"
        if tool == "fill_mask":
            assert output.out.count("harbour") == 6  # the text, and five answers
        if tool != "run_pretraining":
            continue
        trained += 1
        folder = flags["output_dir"]
        assert CheckpointReader(find_checkpoint(folder)).step() == steps
        assert ("going on from step 4" in output.err) == ("init_optimizer" in flags)
        if "init_checkpoint" in flags:
            moved = np.abs(table(folder) - table(flags["init_checkpoint"])).max()
            assert 0 < moved < 0.02  # fresh ones are up to 0.08 apart
        results = Path(folder, "eval_results.txt")
        assert results.exists() == ("do_eval" in flags)
        if results.exists():
            keys = {line.split(" = ")[0] for line in results.read_text().splitlines()}
            said = set(re.findall(r"`(\w+)`", PAGE.split("## Evaluate")[1])) & keys
            assert said == keys
        if "init_optimizer" in flags:
            again = [*arguments, *added, "--output_dir=NONE", "--num_train_steps=4"]
            assert run_pretraining.main(again) == 1
            assert "--num_train_steps of more than 4" in capsys.readouterr().err
            assert not Path("NONE").exists()
    assert trained == 7
    assert Path("DOMAIN/curves.png").exists()
