"""What docs/migrate.md and docs/convert.md show in Python runs as it is written."""

import re
import shutil
from pathlib import Path

import pytest

from bert_tf import interchange
from bert_tf.checkpoint import CheckpointReader
from tests.programs import ROOT

BLOCKS = [
    pytest.param(text, id=f"{page}-{number}")
    for page in ("migrate", "convert")
    for number, text in enumerate(
        re.findall(
            r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.S
        )
    )
]


@pytest.mark.acceptance
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_python(testdata, tmp_path, monkeypatch, capsys, block):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(testdata / "interchange" / "pretraining", "FOLDER")
    if '"FOLDER"' not in block:
        interchange.convert("FOLDER", "BERT")
    exec(block, {})
    assert capsys.readouterr().out
    if "OUT" in block:
        names = CheckpointReader(str(Path("OUT"))).shapes
        assert "output_weights" in names
