"""Sentences of raw text, and the words of Chinese for whole word masking."""

import marshal
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import jieba
import numpy as np
import pytest

from bert_tf.errors import ConfigError
from bert_tf.tokenization import FullTokenizer, rules, segmentation
from bert_tf.tokenization.segmentation import ChineseWords, sentence_splitter


def without_space(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. Smith paid $3.5 to the U.N. yesterday.", "Why?", '"Go!" he said.', "No"],
        ["今天天气很好。", "我们去公园吧！", "你来吗？", "来；", "不来……"],
        ["他说：「你好。」", "她问：『真的？』", "我说：“是。”", "好。"],
        ["二〇一三年加盟。", "2013年退役。」", "3.5公里！", "iPhone 5是什么？", "x。"],
        ["这是真的？！", "太好了！！！", "我……不知道。", "（他来了。）她走了。"],
        # At an ideographic space behind the quotation sentencex itself panics.
        ["“好。”", "她走了。"],
        ["お茶「です。」", "はい。"],
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("space", ["", " ", "\u3000", "\xa0", "\r", "\n"])
def test_sentences_segmented_by_hand(sentences, language, space):
    if not space and sentences[0].isascii():
        space = "\t"
    split = sentence_splitter(language)
    assert split(space + space.join(sentences) + space) == sentences


def test_empty_lines_end_sentences():
    split = sentence_splitter()
    text = "one line\nof text. Another\n\n\nthe title\r\n\r\nthe end.\n\nit is\n\n"
    sentences = ["one line\nof text.", "Another", "the title", "the end.", "it is"]
    assert split(text) == sentences
    assert split("") == split(" \n\n\u3000\n") == []


def test_abbreviations_are_those_of_the_language():
    text = "Das gilt bzgl. Berlin."
    assert sentence_splitter("de")(text) == sentence_splitter("gsw")(text) == [text]
    assert len(sentence_splitter("en")(text)) == 2


def test_sentences_of_random_texts_hold_every_character(random_texts):
    for language in ("en", "zh", "hi"):
        split = sentence_splitter(language)
        for text in random_texts:
            sentences = split(text)
            assert without_space("".join(sentences)) == without_space(text)
            assert all(each and each == each.strip() for each in sentences)


def test_sentences_of_real_text_hold_every_character(real_data):
    for name, language in (
        ("english_novels.txt", "en"),
        ("chinese_wikipedia.txt", "en"),
        ("udhr_387_languages.txt", "ar"),
    ):
        text = (real_data / "text" / name).read_text("utf-8")
        split = sentence_splitter(language)
        for part in (text[:300_000], *text.split("\n\n")):
            assert without_space("".join(split(part))) == without_space(part)


def test_sentences_of_chinese_wikipedia(real_data, measured):
    """The file has a sentence a line: joined, they come apart at the same places."""
    text = (real_data / "text/chinese_wikipedia.txt").read_text("utf-8")
    split = sentence_splitter("zh")
    expected = found = both = 0
    for paragraph in text.split("\n\n"):
        ends = sentence_ends(paragraph.split("\n"))
        got = sentence_ends(split(paragraph.replace("\n", "")))
        expected, found = expected + len(ends), found + len(got)
        both += len(ends & got)
    measured("sentences of Chinese Wikipedia found", both / expected, at_least=0.99)
    measured("sentences found that are some", both / found, at_least=0.99)


def sentence_ends(sentences: list[str]) -> set[int]:
    return set(np.cumsum([len(without_space(each)) for each in sentences]).tolist())


def test_a_splitter_can_be_sent_to_other_processes_and_threads():
    split = pickle.loads(pickle.dumps(sentence_splitter("zh")))
    text = "他来了。她走了！" * 50
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(split, [text] * 40))
    assert results == [["他来了。", "她走了！"] * 50] * 40


@pytest.mark.parametrize("code", ["", "EN", "english", "pt_BR", "zh-Hant", "e"])
def test_what_is_no_code_of_a_language(code):
    with pytest.raises(ConfigError, match=f"en, zh or pt-br, got {code!r}"):
        sentence_splitter(code)


def test_without_the_libraries(monkeypatch, chinese):
    for name, function in (
        ("sentencex", sentence_splitter),
        ("jieba", lambda: ChineseWords(chinese)),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        segmentation._new_jieba.cache_clear()
        with pytest.raises(ConfigError, match=rf"{name}.* 'bert-tf\[text\]'\.$"):
            function()


@pytest.fixture(scope="module")
def chinese(tmp_path_factory) -> FullTokenizer:
    """A tokenizer that knows some ideographs: not 恤, 鑫 and 𠮷."""
    letters = sorted(set("今天气很好我们去北京大学玩和卡拉吧中国科院豈"))
    pieces = ["[UNK]", *letters, *"。，.%35t", "ok", "una", "##ff", "##able"]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(pieces), "utf-8")
    return FullTokenizer(str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "今天天气很好，我们去北京大学玩。",
            "今+天+天+气 很 好 ， 我+们 去 北+京+大+学 玩 。",
        ),
        # Words of several letters that are no ideographs, and neighbours of such.
        ("玩T恤和卡拉OK吧", "玩 t [UNK] 和 卡+拉 ok 吧"),
        ("unaffable中国3.5%", "una+##ff+##able 中+国 3 . 5 %"),
        # Unknown ideographs are words of jieba's like known ones.
        ("鑫鑫和中国科学院", "[UNK]+[UNK] 和 中+国+科+学+院"),
        # Side by side in the text, not only in the order of pieces.
        ("中 国，中\n国中\0国", "中 国 ， 中 国 中 国"),
        # An ideograph beyond jieba's, and one that decomposes to another.
        ("𠮷豈", "[UNK] 豈"),
        ("", ""),
    ],
)
def test_words_segmented_by_hand(chinese, text, words):
    ids, continues = ChineseWords(chinese).tokenize(text)
    assert (ids.dtype, continues.dtype) == (np.int32, np.bool_)
    pieces = chinese.convert_ids_to_tokens(ids)
    spelled = "".join(
        "+" * joins + " " * (not joins) + piece
        for piece, joins in zip(pieces, continues.tolist(), strict=True)
    )
    assert spelled.strip() == words
    assert ChineseWords(chinese).tokenize(text.encode())[0].tolist() == ids.tolist()


@pytest.fixture(scope="module")
def plain_jieba(tmp_path_factory) -> jieba.Tokenizer:
    """jieba as it comes, but for the place of its cache."""
    tokenizer = jieba.Tokenizer()
    tokenizer.tmp_dir = str(tmp_path_factory.mktemp("jieba"))
    tokenizer.initialize()
    return tokenizer


def expected_words(
    tokenizer: FullTokenizer, words: jieba.Tokenizer, text: str
) -> tuple[list[int], list[bool]]:
    """What `ChineseWords.tokenize` returns, from offsets of pieces and of words."""
    within = {
        place
        for _, start, end in words.tokenize(text)
        for place in range(start + 1, end)
    }
    pieces = tokenizer.tokenize_with_offsets(text)
    continues = []
    last = -1  # where the ideograph before ends
    for piece, start, end in pieces:
        is_ideograph = rules.is_cjk(text[start])
        joins = is_ideograph and last == start and start in within
        continues.append(joins or piece.startswith("##"))
        last = end if is_ideograph else -1
    return tokenizer.convert_tokens_to_ids(p for p, _, _ in pieces), continues


def check_words(tokenizer, plain_jieba, texts) -> int:
    words = ChineseWords(tokenizer)
    joined = 0
    for text in texts:
        ids, continues = words.tokenize(text)
        pieces = tokenizer.tokenize(text)
        assert ids.tolist() == tokenizer.convert_tokens_to_ids(pieces), text
        expected = expected_words(tokenizer, plain_jieba, text)
        assert (ids.tolist(), continues.tolist()) == expected, text
        joined += int(continues.sum())
    return joined


def test_words_of_random_texts(chinese, golden_vocabs, plain_jieba, random_texts):
    check_words(chinese, plain_jieba, random_texts)
    cased = FullTokenizer(golden_vocabs[False], do_lower_case=False)
    check_words(cased, plain_jieba, random_texts[:5000])


def test_words_of_golden_texts(golden_texts, golden_vocabs, plain_jieba):
    uncased = FullTokenizer(golden_vocabs[True])
    assert check_words(uncased, plain_jieba, [each["text"] for each in golden_texts])


def test_words_of_chinese_wikipedia(real_data, plain_jieba):
    tokenizer = FullTokenizer(str(real_data / "vocab/chinese_vocab.txt"))
    text = (real_data / "text/chinese_wikipedia.txt").read_text("utf-8")
    lines = text.split("\n")[:3000]
    ideographs = len(re.findall("[一-鿿]", "".join(lines)))
    joined = check_words(tokenizer, plain_jieba, lines)
    # Words of Chinese have some 1.6 ideographs.
    assert 0.3 * ideographs < joined < 0.5 * ideographs


def test_jieba_keeps_to_itself(tmp_path):
    """It says nothing, and neither reads nor writes what anyone could have written."""
    cache = tmp_path / "jieba.cache"
    cache.write_bytes(marshal.dumps(({"我们去": 10**6}, 10**6)))
    before = cache.read_bytes()
    program = (
        "from bert_tf.tokenization import segmentation\n"
        "print('/'.join(segmentation._load_jieba().cut('我们去北京')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", program],
        env={"TMPDIR": str(tmp_path), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert (done.stdout, done.stderr) == ("我们/去/北京\n", "")
    assert list(tmp_path.iterdir()) == [cache]
    assert cache.read_bytes() == before


def test_jieba_is_loaded_once(monkeypatch, chinese):
    segmentation._new_jieba.cache_clear()
    loads = []
    load = jieba.Tokenizer.gen_pfdict
    monkeypatch.setattr(
        jieba.Tokenizer, "gen_pfdict", lambda _, file: loads.append(0) or load(file)
    )
    start = threading.Barrier(4)

    def use(_: int) -> list:
        start.wait()
        return ChineseWords(chinese).tokenize("我们去北京")[1].tolist()

    with ThreadPoolExecutor(4) as threads:
        assert (
            list(threads.map(use, range(4))) == [[False, True, False, False, True]] * 4
        )
    assert len(loads) == 1


def test_words_that_others_teach_jieba_change_nothing(monkeypatch, chinese):
    words = ChineseWords(chinese)
    before = words.tokenize("我们去北京")[1].tolist()
    for name, value in (("FREQ", {}), ("total", 1), ("initialized", True)):
        monkeypatch.setattr(jieba.dt, name, value)
    jieba.add_word("我们去北京", 10**9)
    assert jieba.lcut("我们去北京") == ["我们去北京"]
    assert words.tokenize("我们去北京")[1].tolist() == before


def test_words_can_be_sent_to_other_processes(chinese):
    words = pickle.loads(pickle.dumps(ChineseWords(chinese)))
    assert words.tokenize("中国")[1].tolist() == [False, True]
