"""A notebook's way: `compile`, `fit`, Google's format; the README shows this code."""

import re

import numpy as np

from bert_tf import BertClassifier, BertConfig, GraphTokenizer, load_checkpoint
from tests.programs import ROOT, run
from tests.small_task import write_small_task


def test_the_readmes_example(tmp_path, testdata, measured):
    write_small_task(tmp_path, testdata, rows=64)
    code = re.search(
        r"```python\n(import keras.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    assert code, "README.md holds no example that starts with `import keras`"
    program = code[1]
    for name, path in (
        ("bert_model.ckpt", testdata / "bert_model.ckpt"),
        ("bert_config.json", testdata / "bert_config.json"),
        ("vocab.txt", testdata / "vocab_uncased.txt"),
    ):
        program = program.replace(f"BERT/{name}", str(path))
    program = program.replace("OUTPUT/", f"{tmp_path}/output/")
    measured("lines of the compile/fit example", len(program.splitlines()), at_most=20)
    (tmp_path / "example.py").write_text(program)
    printed = run(tmp_path / "example.py", PYTHONPATH=str(ROOT))

    # What it printed are the probabilities of the model it trained; the checkpoint
    # it wrote gives the same.
    config = BertConfig.from_json_file(testdata / "bert_config.json")
    model = BertClassifier(config, num_labels=2)
    load_checkpoint(model, tmp_path / "output" / "model.ckpt")
    tokenizer = GraphTokenizer(str(testdata / "vocab_uncased.txt"))
    logits = model(tokenizer.pack(["a warm day"], max_seq_length=32)).numpy()
    shown = np.array(
        re.findall(r"-?\d+\.\d+(?:e-?\d+)?", printed.splitlines()[-1]), float
    )
    np.testing.assert_allclose(shown, logits[0], atol=1e-4)
