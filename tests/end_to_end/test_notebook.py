"""examples/movie_reviews.ipynb is a notebook, and its cells do what they say."""

import json
import re

from tests.notebooks import execute, read, source
from tests.programs import ROOT

NOTEBOOK = ROOT / "examples" / "movie_reviews.ipynb"
CELLS = read(NOTEBOOK)["cells"]

# What the cells have computed, and the reader of IMDB's folders on two of these.
THEN = """
import json

for name, text in (("pos", "Good.<br /><br />Really\\tgood."), ("neg", "Bad.")):
    folder = Path(OUTPUT, "aclImdb", name)
    folder.mkdir(parents=True)
    (folder / "0_1.txt").write_text(text)
write_table(f"{OUTPUT}/aclImdb", f"{OUTPUT}/imdb.tsv")
values = {
    "accuracy": accuracy,
    "fit_accuracy": fit_accuracy,
    "baseline": baseline,
    "said": dict(zip(SENTENCES, said, strict=True)),
    "sums": served(text_a=tf.constant(SENTENCES))["probabilities"].numpy().sum(1),
    "imdb": read_table(f"{OUTPUT}/imdb.tsv"),
}
print(json.dumps(values, default=lambda x: x.tolist()))
"""


def test_it_is_a_notebook():
    """As nbformat 4.5 has it, as far as a few lines can tell."""
    notebook = read(NOTEBOOK)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    names = [cell["id"] for cell in CELLS]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)
    for cell in CELLS:
        keys = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            keys |= {"execution_count", "outputs"}
        assert set(cell) == keys, cell["id"]
    tagged = [each["id"] for each in CELLS if each["metadata"].get("tags")]
    assert tagged == ["settings"]


def test_its_outputs_are_of_one_run_and_of_no_machine():
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    assert counts == list(range(1, len(code) + 1))
    outputs = [each for cell in code for each in cell["outputs"]]
    assert {each["output_type"] for each in outputs} == {"stream", "display_data"}
    shown = json.dumps([source(cell) for cell in CELLS] + outputs)
    assert not re.search(r"/(home|root|tmp|Users|work)/|WARNING|Traceback", shown)
    assert NOTEBOOK.stat().st_size < 150_000


def test_its_links_lead_somewhere():
    text = "".join(source(cell) for cell in CELLS if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\((\.\./[^)]+)\)", text)
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


def test_the_reviews_are_balanced_and_different():
    seen = []
    for name, each in (("train", 100), ("test", 30)):
        path = NOTEBOOK.parent / "reviews" / f"{name}.tsv"
        header, *lines = path.read_text("utf-8").splitlines()
        assert header == "review\tlabel"
        reviews, labels = zip(*(line.split("\t") for line in lines), strict=True)
        assert {x: labels.count(x) for x in labels} == {
            "positive": each,
            "negative": each,
        }
        seen += [review.lower() for review in reviews]
    assert len(seen) == len(set(seen))


def test_its_cells_run(tmp_path):
    settings = {
        "MODEL": "tiny",
        "OUTPUT": str(tmp_path / "reviews"),
        "MAX_SEQ_LENGTH": 16,
        "NUM_EPOCHS": 1,
    }
    printed = execute(NOTEBOOK, settings, THEN, tmp_path)
    values = json.loads(printed.splitlines()[-1])
    report = (tmp_path / "reviews" / "eval_results.txt").read_text()
    [evaluated] = re.findall(r"eval_accuracy = (.*)", report)
    assert abs(values["accuracy"] - float(evaluated)) < 1e-6
    assert 0 <= values["fit_accuracy"] <= 1
    assert 0 <= values["baseline"] <= 1
    assert len(values["said"]) == 6
    assert set(values["said"].values()) <= {"negative", "positive"}
    assert all(abs(x - 1) < 1e-5 for x in values["sums"])
    for sentence, label in values["said"].items():
        assert re.search(f"{label} \\d.\\d\\d  {re.escape(sentence)}", printed)
    assert values["imdb"] == [["Bad.", "negative"], ["Good. Really good.", "positive"]]
