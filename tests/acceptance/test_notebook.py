"""What examples/movie_reviews.ipynb reaches with the model that it fetches."""

import json
import statistics

import pytest

from examples.pretrained import fetch
from tests.notebooks import execute
from tests.programs import ROOT

SEEDS = (1, 2, 3)
THEN = """
import json

print(json.dumps([float(accuracy), fit_accuracy, baseline]))
"""


@pytest.mark.acceptance
@pytest.mark.timeout(1800)
def test_movie_reviews(tmp_path, measured):
    if fetch() is None:
        pytest.skip("needs a network for the model")
    found = []
    for seed in SEEDS:
        settings = {"OUTPUT": str(tmp_path / str(seed)), "SEED": seed}
        printed = execute(
            ROOT / "examples" / "movie_reviews.ipynb", settings, THEN, tmp_path
        )
        found.append(json.loads(printed.splitlines()[-1]))
    runs, fits, baselines = map(statistics.mean, zip(*found, strict=True))
    what = "60 movie reviews, after 200 and 4 epochs, mean accuracy of 3 seeds"
    measured(f"{what}: MiniLM, run_classifier", runs, at_least=0.75)
    measured(f"{what}: MiniLM, fit", fits, at_least=0.75)
    measured("60 movie reviews, accuracy of counted words", baselines)
