"""What the docs say of flags and commands is so."""

import re
import shlex

from absl import flags

from bert_tf.tasks import glue
from bert_tf.tasks.label_kinds import KINDS
from bert_tf.tools import (
    check_vocab,
    convert_checkpoint,
    create_pretraining_data,
    distill,
    distill_flags,
    export_model,
    extend_vocab,
    extract_features,
    fill_mask,
    inspect_records,
    learn_vocab,
    plot,
    run_classifier,
    run_pretraining,
    run_squad,
    run_tagger,
    serve,
    show,
    sweep,
    tagger_flags,
)
from bert_tf.tools.command_line import all_flags
from tests.programs import ROOT

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]


def table(page):
    """Returns `{flag: default}` of a page's tables of flags."""
    rows = re.findall(
        r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", (ROOT / "docs" / page).read_text(), re.M
    )
    return dict(rows)


def defaults(values):
    """Returns `{flag: default}` of a program."""
    return {
        name: ""
        if values[name].default is None
        else values[name].default_as_str.strip("'")
        for name in values
        if name not in ("helpshort", "helpfull")
    }


def test_the_table_of_flags_is_the_programs():
    assert table("flags.md") == defaults(all_flags(run_classifier.GROUPS))


def test_the_tables_of_sweep_and_plot_are_the_programs():
    values = flags.FlagValues()
    for group in (sweep.GRID, *plot.GROUPS):
        group.define(values)
    assert table("sweep.md") == defaults(values)


def test_the_table_of_inspect_records_is_the_programs():
    values = flags.FlagValues()
    for group in inspect_records.GROUPS:
        group.define(values)
    assert table("inspect_records.md") == defaults(values)


def test_the_table_of_fill_mask_is_the_programs():
    values = flags.FlagValues()
    for group in fill_mask.GROUPS:
        group.define(values)
    assert table("fill_mask.md") == defaults(values)


def test_the_table_of_export_model_is_the_programs():
    values = flags.FlagValues()
    for group in export_model.GROUPS:
        group.define(values)
    assert table("export_model.md") == defaults(values)


def test_the_table_of_extract_features_is_the_programs():
    values = flags.FlagValues()
    for group in extract_features.GROUPS:
        group.define(values)
    assert table("features.md") == defaults(values)


def test_the_table_of_serve_is_the_programs():
    values = flags.FlagValues()
    for group in serve.GROUPS:
        group.define(values)
    assert table("serve.md") == defaults(values)


def test_the_table_of_create_pretraining_data_is_the_programs():
    values = flags.FlagValues()
    for group in create_pretraining_data.GROUPS:
        group.define(values)
    assert table("pretrain_data.md") == defaults(values)


def test_the_table_of_convert_checkpoint_is_the_programs():
    values = all_flags(convert_checkpoint.GROUPS)
    assert table("convert.md") == defaults(values)


def test_the_table_of_distills_own_flags_is_the_programs():
    values = flags.FlagValues()
    distill_flags.define_distillation_flags(values)
    assert table("distill.md") == defaults(values)


def test_the_table_of_check_vocab_is_the_programs():
    values = flags.FlagValues()
    for group in check_vocab.GROUPS:
        group.define(values)
    assert table("check_vocab.md") == defaults(values)


def test_the_table_of_extend_vocab_is_the_programs():
    values = flags.FlagValues()
    for group in extend_vocab.GROUPS:
        group.define(values)
    assert table("extend_vocab.md") == defaults(values)


def test_the_table_of_learn_vocab_is_the_programs():
    values = flags.FlagValues()
    for group in learn_vocab.GROUPS:
        group.define(values)
    assert table("learn_vocab.md") == defaults(values)


def test_the_tables_of_run_pretraining_are_the_programs():
    values = flags.FlagValues()
    for group in run_pretraining.GROUPS:
        group.define(values)
    assert table("pretrain.md") == defaults(values)


def test_the_table_of_glue_is_the_processors():
    text = (ROOT / "docs" / "finetune.md").read_text()
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| `(.*?)`.*? \| (.*?) \| `(.*?)` \|", text, re.M
    )
    assert {task for task, *_ in rows} == set(glue.PROCESSORS)
    for task, _, metrics, submission in rows:
        processor = glue.PROCESSORS[task]()
        assert processor.submission_file == submission
        known = KINDS[processor.label_kind].metric_names
        assert set(re.findall(r"`(\w+)`", metrics)) <= set(known)


def test_the_table_of_run_squad_is_what_run_classifier_has_not_or_otherwise():
    others = defaults(all_flags(run_classifier.GROUPS))
    own = flags.FlagValues()
    run_squad.define_task_flags(own)
    values = defaults(all_flags(run_squad.GROUPS))
    differ = {name: x for name, x in values.items() if others.get(name) != x}
    assert table("squad.md") == defaults(own) | differ


def test_the_table_of_run_taggers_own_flags_is_the_programs():
    values = flags.FlagValues()
    tagger_flags.define_task_flags(values)
    assert table("tagging.md") == defaults(values)
    others = set(all_flags(run_tagger.GROUPS)) - set(values)
    assert others <= set(all_flags(run_classifier.GROUPS))


def commands():
    """Yields the commands of `bert-tf` and of the release's scripts of all pages."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for block in re.findall(r"```sh\n(.*?)```", text, re.S):
            for line in block.splitlines():
                found = re.match(r"(?:bert-tf|python) +(\w+)(?:\.py)? +(.*)", line)
                if found:
                    yield page.name, found[1], shlex.split(found[2], comments=True)


def test_the_docs_commands_parse():
    tools = {
        "run_classifier": run_classifier.GROUPS,
        "run_pretraining": run_pretraining.GROUPS,
        "run_squad": run_squad.GROUPS,
        "run_tagger": run_tagger.GROUPS,
        "sweep": sweep.GROUPS,
        "plot": plot.GROUPS,
        "convert_checkpoint": convert_checkpoint.GROUPS,
        "distill": distill.GROUPS,
        "show": show.GROUPS,
        "create_pretraining_data": create_pretraining_data.GROUPS,
        "inspect_records": inspect_records.GROUPS,
        "export_model": export_model.GROUPS,
        "extract_features": extract_features.GROUPS,
        "fill_mask": fill_mask.GROUPS,
        "check_vocab": check_vocab.GROUPS,
        "extend_vocab": extend_vocab.GROUPS,
        "learn_vocab": learn_vocab.GROUPS,
        "serve": serve.GROUPS,
    }
    seen = set()
    for page, tool, arguments in commands():
        values = all_flags(tools[tool])
        try:
            rest = values([tool, *arguments])
        except flags.Error as error:
            raise AssertionError(f"{page}: {error}") from error
        takes_others = tool in ("plot", "inspect_records", "fill_mask", "show")
        assert (len(rest) > 1) == takes_others, f"{page}: {rest}"
        seen.add(tool)
    assert seen == set(tools)


def test_links_lead_somewhere():
    for page in [*PAGES, ROOT / "ARCHITECTURE.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
