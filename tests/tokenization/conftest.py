"""Texts and vocabularies that several tests here share."""

import json
import pathlib
import random

import pytest

from bert_tf.tokenization import BasicTokenizer

TESTDATA = pathlib.Path(__file__).parents[1] / "testdata"

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# (first, last, weight): what random texts are drawn from. The narrow ranges are those
# where neighbours matter or where the release and Unicode disagree.
_RANGES = (
    (0x20, 0x7E, 30),
    (0x00, 0x1F, 3),
    (0x7F, 0xFF, 6),
    (0x100, 0x24F, 5),
    (0x300, 0x36F, 6),
    (0x370, 0x3FF, 8),
    (0x3A3, 0x3A3, 8),
    (0x400, 0x52F, 3),
    (0x590, 0x6FF, 3),
    (0x900, 0xDFF, 5),
    (0x1B00, 0x1BFF, 2),
    (0x1E00, 0x1FFF, 5),
    (0x2000, 0x206F, 4),
    (0x2100, 0x214F, 2),
    (0x3000, 0x30FF, 4),
    (0x302E, 0x302F, 3),
    (0x4E00, 0x9FFF, 5),
    (0xAC00, 0xD7A3, 4),
    (0xF900, 0xFAFF, 2),
    (0xFE00, 0xFFFF, 3),
    (0x10400, 0x1044F, 2),
    (0x16FF0, 0x16FF1, 2),
    (0x1D15E, 0x1D1C0, 4),
    (0x1F300, 0x1F6FF, 3),
    (0x2F800, 0x2FA1D, 1),
    (0xE0000, 0xE01EF, 1),
    (0x10000, 0x10FFFF, 2),
)


@pytest.fixture(scope="session")
def golden_texts() -> list[dict]:
    return json.loads((TESTDATA / "tokenization.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def golden_vocabs() -> dict[bool, str]:
    return {
        True: str(TESTDATA / "vocab_uncased.txt"),
        False: str(TESTDATA / "vocab_cased.txt"),
    }


@pytest.fixture(scope="session")
def random_texts() -> list[str]:
    rng = random.Random(20181031)
    weights = [weight for _, _, weight in _RANGES]
    texts = ["", " ", "\u0301", "\0", "ΣΣ", "a" * 200, "a" * 201, "é" * 201, "𝔘" * 201]
    while len(texts) < 20_000:
        # Few kinds of characters a text, so that those which interact meet.
        kinds = rng.choices(_RANGES, weights, k=rng.randint(1, 4))
        chars = []
        for _ in range(rng.randint(0, 24)):
            first, last, _ = rng.choice(kinds)
            code_point = rng.randint(first, last)
            if not 0xD800 <= code_point < 0xE000:
                chars.append(chr(code_point))
        texts.append("".join(chars))
    return texts


@pytest.fixture(scope="session")
def random_vocabs(tmp_path_factory, random_texts) -> dict[bool, str]:
    """Vocabularies that split most of the random texts, lower-cased or not."""
    return {
        casing: _write_vocab(
            tmp_path_factory.mktemp("vocab") / "vocab.txt", casing, random_texts
        )
        for casing in (True, False)
    }


def _write_vocab(path: pathlib.Path, do_lower_case: bool, texts: list[str]) -> str:
    rng = random.Random(7)
    basic = BasicTokenizer(do_lower_case)
    words = sorted({word for text in texts for word in basic.tokenize(text)})
    letters = sorted({letter for word in words for letter in word})
    pieces = rng.sample(letters, len(letters) * 9 // 10)
    pieces += ["##" + letter for letter in pieces]
    for word in rng.sample(words, 8000):
        start = rng.randrange(len(word))
        piece = word[start : start + rng.randint(2, 5)]
        pieces.append("##" + piece if start else piece)
    pieces = _SPECIAL + [p for p in dict.fromkeys(pieces) if p not in _SPECIAL]
    # As in two of Google's files: pieces that are blank when stripped; and one that
    # a later line overrides.
    pieces += ["\u2028", "##\u2028", " " + pieces[9]]
    path.write_text("".join(p + "\n" for p in pieces), "utf-8", newline="\n")
    return str(path)


@pytest.fixture(scope="session")
def all_characters() -> list[str]:
    """Every code point alone and between letters, 64 of them a text.

    Planes 4 to 13, 15 and 16 hold no characters; a few of each are here.
    """
    code_points = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xF0000)]
    code_points += [*range(0x40000, 0xE0000, 997), *range(0xF0000, 0x110000, 997)]
    chars = [chr(code_point) for code_point in code_points]
    return [
        "\n".join(f"{char}\na{char}b" for char in chars[first : first + 64])
        for first in range(0, len(chars), 64)
    ]
