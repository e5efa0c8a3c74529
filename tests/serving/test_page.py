"""The page at `/`, used as people use it, in Chromium where it is installed."""

import shutil
import signal

import pytest

from bert_tf.serving.batching import Batcher
from bert_tf.serving.json_tensors import Limits
from bert_tf.serving.rest import Service
from bert_tf.serving.saved_model import SavedModel
from bert_tf.tools import export_model
from tests.asgi_client import call
from tests.server_process import Server

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def test_a_name_is_no_markup(small_export):
    model = SavedModel(small_export)
    batcher = Batcher(model, 8, 0, 8)
    name = '<b>"it\'s"'
    service = Service(model, name, batcher, Limits(8, 100), 1000)
    status, body = call(service.app, "GET", "/")
    batcher.close()
    assert status == 200
    page = body.decode()
    assert name not in page and "{{" not in page
    assert 'data-model="&lt;b&gt;&quot;it&#x27;s&quot;"' in page


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield found
        found.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Returns what opens the page of an export; at the end, all was well with it."""
    servers, complaints = [], []

    def open_page(export_dir, **flags):
        servers.append(Server(export_dir, tmp_path / "log", **flags))
        page = browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{servers[0].port}/")
        page.wait_for_selector("textarea")
        return page

    yield open_page
    for server in servers:
        server.process.send(signal.SIGTERM)
        assert server.process.wait() == 0
    assert not complaints


def ask(page, *texts):
    for area, text in zip(page.locator("textarea").all(), texts, strict=True):
        area.fill(text)
    page.click("button")
    page.wait_for_selector("button:not([disabled])")


def test_masks_are_filled(visit, testdata, tmp_path):
    for path in testdata.glob("bert_*"):
        shutil.copy(path, tmp_path)
    shutil.copy(testdata / "vocab_uncased.txt", tmp_path / "vocab.txt")
    export = tmp_path / "export"
    flags = [f"--model_dir={tmp_path}", f"--export_dir={export}"]
    assert export_model.main([*flags, "--top_k=3"]) == 0
    page = visit(str(export))
    assert page.title() == "words" and "[MASK]" in page.input_value("textarea")
    ask(page, "the [MASK] was darkest, [MASK] <i>said</i>")
    pieces = page.locator("#pieces .piece").all_inner_texts()
    assert pieces[:4] == ["the", "[MASK]", "was", "dark"] and "<" in pieces
    rows = page.locator("#said .row").all_inner_texts()
    assert len(rows) == 2 * 3
    shares = [float(row.split()[-1]) for row in rows]
    assert shares[:3] == sorted(shares[:3], reverse=True) and min(shares) > 0
    best = rows[0].split()[0]
    page.locator("#said .row").first.click()
    page.locator("#said .row").nth(3).wait_for(state="detached")
    assert page.locator("#said .row").count() == 3
    word = best.removeprefix("##")
    assert word in page.input_value("textarea").split("was")[0]
    page.select_option("select", "embeddings")
    ask(page, "the fog")
    assert "48 numbers" in page.inner_text("#said")


def test_labels_and_mistakes(visit, small_export):
    page = visit(small_export, max_text_chars=40)
    page.select_option("select", "tags")
    ask(page, "a longer text")
    words = page.locator("#said .word").all_inner_texts()
    assert [word.split() for word in words] == [
        ["a", "1"],
        ["longer", "0"],
        ["text", "1"],
    ]
    page.select_option("select", "answers")
    ask(page, "why", "<b>so</b>")
    assert page.inner_text("#said .big") == "why|<b>so</b>"
    ask(page, "why", "x" * 41)
    assert "at most 40 characters" in page.inner_text(".error")
