"""Raw text into sentences, and Chinese into words.

Pretraining takes its segments from sentences, and masks whole words: in most languages
the pieces of a word tell what belongs together, in Chinese a word list has to. Both are
left to libraries made for it, sentencex and jieba, which `bert-tf[text]` installs.
"""

import functools
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from bert_tf.errors import ConfigError
from bert_tf.tokenization import rules
from bert_tf.tokenization.conversion import convert_to_unicode
from bert_tf.tokenization.full_tokenizer import FullTokenizer

_LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*")

_EMPTY_LINES = re.compile(r"\n\s*\n")

# What sentencex is shown in place of a paragraph, character for character, because of
# what it makes of the text itself:
# - Line breaks and spaces beyond ASCII become spaces. It may leave out the former, and
#   it panics at an ideographic space behind a quotation.
# - "；" is a comma to it. What it separates are whole clauses, often many to a period,
#   and corpora of Chinese sentences are cut there.
# - 『』 are no quotes to it, so that the 』 would begin the next sentence.
# - Behind an end, a digit or a small letter goes on with the sentence, as in "3.5"; but
#   an eighth of the sentences of Chinese Wikipedia begin with one, "。2013年".
# Left as it has it is "……", which stands inside Chinese sentences as often as behind.
_SPACE = re.compile(r"[^\S ]")
_SPELLINGS = str.maketrans("；『』", "。‹›")
_BEGINNING = re.compile(r"([。！？][」”’›]*\s*)[0-9a-z]")

_JIEBA_LOCK = threading.Lock()
_IDEOGRAPHS = re.compile(f"([{rules.IDEOGRAPHS}]+)")


def sentence_splitter(language: str = "en") -> Callable[[str], list[str]]:
    """Returns what splits a text into its sentences.

    Chinese and Japanese sentences end properly whatever the language. In doubt two
    sentences stay together: no period inside of quotes or brackets ends one.

    Args:
      language: Wikipedia's code of the language, such as "de" or "pt-br", for its
        abbreviations. sentencex takes a language that it has no rules for as a related
        one, and as English where it knows of none, and does not tell.

    Returns:
      A function from a text to its sentences, in order and without space around them,
      none empty; together they have every character of the text that is no space. An
      empty line ends a sentence, other line breaks are spaces. It can be pickled and
      called from several threads at a time.

    Raises:
      ConfigError: sentencex is not installed, or `language` is not such a code.
    """
    try:
        from sentencex import segment
    except ImportError as error:
        raise ConfigError(
            "Expected sentencex, which splits text into sentences, found that it is "
            "not installed; run pip install 'bert-tf[text]'."
        ) from error
    if not _LANGUAGE_CODE.fullmatch(language):
        # sentencex would take it for English.
        raise ConfigError(
            f"Expected the code of a language in small letters, such as en, zh or "
            f"pt-br, got {language!r}; pass one."
        )
    return functools.partial(_sentences, segment, language)


def _sentences(
    segment: Callable[[str, str], list[str]], language: str, text: str
) -> list[str]:
    sentences = []
    for paragraph in _EMPTY_LINES.split(text):
        shown = _SPACE.sub(" ", paragraph).translate(_SPELLINGS)
        shown = _BEGINNING.sub(r"\1一", shown)
        start = 0
        for part in segment(language, shown):
            end = start + len(part)
            if sentence := paragraph[start:end].strip():
                sentences.append(sentence)
            start = end
    return sentences


class ChineseWords:
    """The pieces of a text, and which of them are one word in Chinese as well."""

    def __init__(self, tokenizer: FullTokenizer):
        """Initializes what finds the words, which takes a second the first time.

        Args:
          tokenizer: makes the pieces.

        Raises:
          ConfigError: jieba is not installed.
        """
        self._tokenizer = tokenizer
        _load_jieba()

    def tokenize(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        """Tokenizes a text and tells which pieces are masked together.

        A piece goes on with the word of the piece before it if it begins with `##`, or
        if both are ideographs that stand side by side in one word of jieba's; an
        unknown ideograph is one as well. What else jieba takes for one word, like
        "3.5%" or "T恤", stays as many words as the release makes of it.

        Args:
          text: any text.

        Returns:
          `(ids, continues)`, int32 [n] and bool [n]: the ids of the pieces of
          `FullTokenizer.tokenize`, and whether a piece goes on with the word before it.

        Source: whole word masking as BERT-wwm has it for Chinese
        (https://arxiv.org/abs/1906.08101), and the release for `##`.
        """
        text = convert_to_unicode(text)
        inside = bytearray(b"\1") * len(text)  # not the first character of a word
        start = 0
        for word in _load_jieba().cut(text):
            inside[start] = 0
            start += len(word)
        # An ideograph is a piece of its own, known or not, and nothing in the rules
        # looks past one: the pieces of the runs are those of the text, and come in a
        # fifth of the time of `tokenize_with_offsets`.
        pieces: list[str] = []
        continues = bytearray()
        start = 0
        for number, run in enumerate(_IDEOGRAPHS.split(text)):
            end = start + len(run)
            found = self._tokenizer.tokenize(run)
            if number % 2:
                continues += b"\0" + inside[start + 1 : end]
            else:
                continues += bytes(piece.startswith("##") for piece in found)
            pieces += found
            start = end
        ids = self._tokenizer.convert_tokens_to_ids(pieces)
        return np.array(ids, np.int32), np.array(continues, np.bool_)


def _load_jieba() -> Any:
    """Returns the `jieba.Tokenizer` of this process; safe to call from any thread."""
    with _JIEBA_LOCK:
        return _new_jieba()


@functools.cache
def _new_jieba() -> Any:
    try:
        with warnings.catch_warnings():
            # That pkg_resources, which it imports, is deprecated.
            warnings.simplefilter("ignore")
            import jieba
    except ImportError as error:
        raise ConfigError(
            "Expected jieba, which finds the words of Chinese, found that it is not "
            "installed; run pip install 'bert-tf[text]'."
        ) from error
    # jieba's own `initialize` would log, and read what anyone may have put into the
    # folder for temporary files, by `marshal`; building the words anew takes half a
    # second. Not being `jieba.dt`, it does not see words that others add to that.
    tokenizer = jieba.Tokenizer()
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer
