"""The host's memory against what its files say."""

import psutil
import pytest

from bert_tf import host


def test_a_container_may_have_less_than_the_machine(tmp_path):
    free = psutil.virtual_memory().available
    assert host.available(tmp_path) == pytest.approx(free, rel=0.1)
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 50\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert host.available(tmp_path) == pytest.approx(free, rel=0.1)
    (tmp_path / "memory.max").write_text("1000\n")
    assert host.available(tmp_path) == 350
