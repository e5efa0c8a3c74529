"""Sentences as the usual files hold them, and what is wrong with others."""

import pytest

from bert_tf.errors import DataError
from bert_tf.tasks.tag_files import TagFiles, read_sentences, read_tagged

EU = ["EU", "rejects", "German", "call"]
TAGS = ["B-ORG", "O", "B-MISC", "O"]
PAIRS = list(zip(EU, TAGS, strict=True))
CONLL_2003 = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC
call NN I-NP O
-DOCSTART- -X- -X- O
Peter NNP B-NP B-PER

"""
CONLLU = """# sent_id = 1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tvmip\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\t_
5.1\tva\tir\tVERB\t_\t_\t_\t_\t1:conj\t_

# sent_id = 2
1\t#\t#\tSYM\t_\t_\t0\troot\t_\t_
2\t10 000\t10000\tNUM\t_\t_\t1\tdep\t_\t_
"""
ODD = [
    "don't",
    "Zoë",
    "東京都",
    "\u200b",  # of no piece
    "a\u00a0b",
    "\u2028",
    "x\u0301",
    "👩\u200d🚀",
    "#",
    "-",
    "a" * 500,
    "]]>&amp;",
    "\ufffd",
]


@pytest.fixture
def file(tmp_path):
    """Writes a file; returns its path."""

    def write(content: str | bytes, name: str = "train.conll") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def pairs(sentences) -> list[list[tuple[str, str]]]:
    return [list(zip(x.words, x.tags, strict=True)) for x in sentences]


@pytest.mark.parametrize(
    "content",
    [
        "EU\tB-ORG\nrejects\tO\nGerman\tB-MISC\ncall\tO\n",
        "EU B-ORG\nrejects O\nGerman B-MISC\ncall O",
        "EU   B-ORG \nrejects O\nGerman B-MISC\ncall O\n\n",
        "\n\nEU\tB-ORG \nrejects\tO\r\nGerman\tB-MISC\ncall\tO\n\t\n \n",
        "\ufeffEU B-ORG\r\nrejects O\r\nGerman B-MISC\r\ncall O\r\n\r\n",
        "EU\tx\ty\tB-ORG\nrejects\tx\ty\tO\nGerman\tx\t\tB-MISC\ncall\tx\ty\tO\n",
    ],
    ids=["tabs", "spaces", "padded", "blank_lines", "bom_crlf", "columns_between"],
)
def test_the_same_sentence_in_every_form(file, content):
    assert pairs(read_tagged(file(content))) == [PAIRS]


def test_conll_2003(file):
    path = file(CONLL_2003)
    sentences = read_tagged(path)
    assert pairs(sentences) == [PAIRS, [("Peter", "B-PER")]]
    assert sentences[0].where(2) == f"{path}, line 5"
    parts = ["NNP", "VBZ", "JJ", "NN"]
    for tag_column in (1, -3):
        assert read_tagged(path, tag_column=tag_column)[0].tags == parts
    assert read_tagged(path, word_column=1, tag_column=0)[0].words == parts


def test_conllu(file):
    path = file(CONLLU, "es-ud.conllu")
    first, second = read_tagged(path)
    assert first.words == ["Vamos", "nos", "a", "el", "mar"]
    assert first.tags == ["VERB", "PRON", "ADP", "DET", "NOUN"]
    assert second.words == ["#", "10 000"]
    assert read_tagged(path, tag_column=7)[1].tags == ["root", "dep"]
    blank = file(CONLLU.replace("NOUN", "_"), "blank.conllu")
    assert [x.tags is None for x in read_tagged(blank, with_tags=False)] == [
        True,
        False,
    ]


@pytest.mark.parametrize("content", ["EU\nrejects\n", "EU\tO\nrejects\t\n"])
def test_a_file_to_tag_needs_no_tags(file, content):
    (sentence,) = read_tagged(file(content), with_tags=False)
    assert sentence.words == ["EU", "rejects"] and sentence.tags is None


def test_plain_text_that_is_read_as_columns(file):
    with pytest.raises(DataError, match=r"line 2; .* --test_format=text"):
        read_tagged(file("Mary Shelley\nwrote it down\n"), with_tags=False)


def test_odd_words_stay_as_they_are(file):
    content = "".join(f"{word}\tX\n" for word in ODD)
    (sentence,) = read_tagged(file(content))
    assert sentence.words == ODD
    for word, (start, end) in zip(ODD, sentence.offsets, strict=True):
        assert sentence.text[start:end] == word
    assert sentence.text == " ".join(ODD)


def test_plain_text(file):
    lines = ["  Mary's in Łódź.", "", "東京 a\u200bb\tc\u00a0d", "\u200b", "e" * 5000]
    first, second, third = read_sentences(file("\n".join(lines), "test.txt"))
    assert first.words == ["Mary", "'", "s", "in", "Łódź", "."]
    assert first.offsets[0] == (2, 6) and first.text == lines[0]
    assert second.words == ["東", "京", "a\u200bb", "c", "d"]
    assert second.where(0).endswith("line 3")
    assert third.words == [lines[4]]
    assert all(x.tags is None for x in (first, second, third))


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("EU\tO\nin\n", {}, ["columns as in the lines before, 2", "found 1", "line 2"]),
        ("EU x O\nin O\n", {}, ["before, 3", "found 2", "line 2"]),
        ("EU\nin\n", {}, ["column 0", "tag in column -1", "1 column in", "line 1"]),
        ("EU\tO\n", {"tag_column": 2}, ["column 2", "2 columns", "--tag_column"]),
        ("EU\tO\n", {"tag_column": -3}, ["column -3", "2 columns", "--tag_column"]),
        ("EU\tO\n", {"word_column": 2}, ["column 2", "--word_column"]),
        ("EU\tO\n", {"word_column": 1}, ["word in column 1 and a tag in column -1"]),
        ("EU\tO\n\tO\n", {}, ["a word in", "line 2"]),
        ("EU\tO\nin\t \n", {}, ["a tag in", "line 2"]),
        ("\n \n", {}, ["empty file"]),
        (b"EU\tO\ncaf\xe9\tO\n", {}, ["UTF-8", r"\xe9", "line 2"]),
    ],
)
def test_faults(file, content, options, says):
    path = file(content)
    with pytest.raises(DataError) as error:
        read_tagged(path, **options)
    for part in [*says, path]:
        assert part in str(error.value)


def test_a_blank_tag_of_conllu_is_none_to_train_on(file):
    with pytest.raises(DataError, match=r"a tag in .*, line 9"):
        read_tagged(file(CONLLU.replace("NOUN", "_"), "train.conllu"))


# The files of a run.


def test_files_are_found_and_named(file, tmp_path):
    file("EU\tB-ORG\nin\tO\n", "train.tsv")
    other = file("Peter B-PER\nin O\n", "other.bio")
    file("Mary in Paris .\n", "test.txt")
    file("Mary\nin\n", "test.conll")
    folder = str(tmp_path)
    files = TagFiles(folder, {"dev": other})
    assert files.train()[0].words == ["EU", "in"] and files.tags() == ["B-ORG", "O"]
    assert files.dev()[0].tags == ["B-PER", "O"]
    assert files.test()[0].words == ["Mary", "in"]
    plain = TagFiles(folder, {}, plain_test=True)
    assert plain.test()[0].words == ["Mary", "in", "Paris", "."]


@pytest.mark.parametrize(
    ("set_type", "says"),
    [
        ("train", ["train.conll", "--train_file"]),
        ("dev", ["dev.conll", "--dev_file", "--dev_fraction"]),
        ("test", ["test.txt", "--test_file"]),
    ],
)
def test_missing_files(tmp_path, set_type, says):
    files = TagFiles(str(tmp_path), {}, plain_test=True)
    with pytest.raises(DataError) as error:
        getattr(files, set_type)()
    for part in says:
        assert part in str(error.value)


def test_a_part_of_the_training_file_as_dev_set(file, tmp_path):
    file("".join(f"word{i}\tT{i}\n\n" for i in range(20)))
    files = TagFiles(str(tmp_path), {}, dev_fraction=0.25, random_seed=3)
    train, dev = ([x.words[0] for x in part] for part in (files.train(), files.dev()))
    assert len(dev) == 5 and sorted(train + dev) == sorted(
        f"word{i}" for i in range(20)
    )
    assert len(files.tags()) == 20
    assert files.held_out_by()["dev_fraction"] == 0.25
    file("word\tO\n", "dev.conll")
    beside = TagFiles(str(tmp_path), {}, dev_fraction=0.25)
    with pytest.raises(DataError, match=r"dev\.conll; give one"):
        beside.dev()
