# `make` alone lists the targets. Each makes its own .venv when there is none.
PYTHON ?= python3
PY := .venv/bin/python
STAMP := .venv/.installed
BENCH_STAMP := .venv/.bench-installed
# The longest files first, as tests/conftest.py has them.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help venv test acceptance demo bench bench-data bench-memory bench-serving clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

venv: $(STAMP)  ## make or renew .venv with the tested versions

$(STAMP): pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet -c constraints.txt -e '.[test]'
# Only its evaluators of SQuAD are used, which need none of its many dependencies.
	$(PY) -m pip install --quiet -c constraints.txt --no-deps tf-models-official
	touch $(STAMP)

test: $(STAMP)  ## lint, check types and run the tests
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	TF_NUM_INTRAOP_THREADS=1 $(PY) -m pytest $(PYTEST_ARGS)  # a core for each of them

acceptance: $(STAMP)  ## check every measured promise and print a table
	$(PY) tests/acceptance/run.py

demo: $(STAMP)  ## train, evaluate and use a small classifier on examples/topics
	$(PY) examples/demo.py

bench: $(BENCH_STAMP)  ## time this package beside its peers; uses BERT_TF_DATA if it is set
	$(PY) -m benchmarks $(if $(BERT_TF_DATA),\
		--text=$(BERT_TF_DATA)/text/english_novels.txt \
		--vocab=$(BERT_TF_DATA)/vocab/uncased_vocab.txt)

$(BENCH_STAMP): $(STAMP)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[bench]'
	touch $(BENCH_STAMP)

bench-data: $(STAMP)  ## time making and reading pretraining data; needs BERT_TF_DATA
	$(PY) -m benchmarks.pretraining_data $(BERT_TF_DATA)/text/english_novels.txt \
		$(BERT_TF_DATA)/vocab/uncased_vocab.txt
	$(PY) -m benchmarks.input_pipeline $(BERT_TF_DATA)/text/english_novels.txt \
		$(BERT_TF_DATA)/vocab/uncased_vocab.txt

bench-serving: $(STAMP)  ## time bert-tf serve on EXPORT, a folder; needs BERT_TF_DATA
	$(PY) -m benchmarks.serving $(EXPORT) $(BERT_TF_DATA)/text/english_novels.txt

bench-memory: $(STAMP)  ## measure peak memory against the estimate
	$(PY) -m benchmarks.memory

clean:  ## remove what building, testing and the demo leave behind
	rm -rf demo_output
	rm -rf .build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find bert_tf tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
