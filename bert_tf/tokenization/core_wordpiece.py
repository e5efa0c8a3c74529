"""WordPiece as core TensorFlow ops: a batch of words in, the ids of their pieces out.

The same pieces as TF Text's op, for servers that lack it. The vocabulary is a trie of
constants, so that nothing has to be initialized before the first call.

Letters in shape comments: w words, c characters of the distinct ones, each with one
more that ends it, a of the characters that a turn is about, t nodes of the trie.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_CHAR_BITS = 21  # every code point is below 1 << 21

# Ends each word. No piece holds it, as each is a line of a file.
_END = "\n"


class Trie(NamedTuple):
    """The characters of pieces, "##" left out.

    Node 0 is the root of pieces that begin a word, node 1 of those inside one.

    Attributes:
      keys: int64 [t], how each node is reached, `parent << 21 | character`; -2 and -1
        for the roots. Ascending: a node's number is the place of its key.
      ids: int32 [t], the piece that ends at each node, -1 where none does.
      depths: int32 [t], how many characters lead from the root to each node.
    """

    keys: np.ndarray
    ids: np.ndarray
    depths: np.ndarray


def build_trie(vocab: Mapping[str, int]) -> Trie:
    """Makes the trie of a vocabulary, piece -> id.

    Blank pieces ("" and "##") are left out, as no word contains them.
    """
    vocab = {piece: index for piece, index in vocab.items() if piece not in ("", "##")}
    letters = [piece.removeprefix("##") for piece in vocab]
    chars = np.frombuffer("".join(letters).encode("utf-32-le"), np.int32)
    lengths = np.array([len(piece) for piece in letters], np.int64)
    starts = np.cumsum(lengths) - lengths
    # The node that each piece has come to; a character further every turn.
    nodes = np.array([piece.startswith("##") for piece in vocab], np.int64)
    levels = [np.array([-2, -1], np.int64)]
    size = 2
    longer = np.arange(len(vocab))
    while longer.size:
        depth = len(levels)
        level, places = np.unique(
            nodes[longer] << _CHAR_BITS | chars[starts[longer] + depth - 1],
            return_inverse=True,
        )
        nodes[longer] = size + places
        levels.append(level)
        size += level.size
        longer = longer[lengths[longer] > depth]
    ids = np.full(size, -1, np.int32)
    ids[nodes] = list(vocab.values())
    depths = np.repeat(
        np.arange(len(levels), dtype=np.int32), [level.size for level in levels]
    )
    return Trie(np.concatenate(levels), ids, depths)


class CoreWordpieceTokenizer(tf.Module):
    """Splits words into the longest pieces that a vocabulary holds, left to right.

    The longest piece that begins at each character is found for all of them at once, a
    character further every turn; then all words are followed from piece to piece. That
    is as many turns as the longest match has characters, and as many again as a word
    has pieces: never their product, however much pieces overlap.

    Source: `WordpieceTokenizer` in tokenization.py.
    """

    def __init__(self, vocab: Mapping[str, int]):
        """Args: vocab: piece -> id; must hold `[UNK]`."""
        super().__init__(name="core_wordpiece_tokenizer")
        self._unknown = vocab["[UNK]"]
        trie = build_trie(vocab)
        # Pieces are looked up on the host, where the words are.
        with tf.init_scope(), tf.device("/CPU:0"):
            self._keys = tf.constant(trie.keys)
            self._ids = tf.constant(trie.ids)
            self._depths = tf.constant(trie.depths)

    def tokenize(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Returns the ids of the pieces of words.

        Args:
          words: string [w], UTF-8, without whitespace.

        Returns:
          int32 [w, None]; `[UNK]` alone for a word that has no split.
        """
        words, number = tf.unique(words)
        spelled = tf.strings.unicode_decode(tf.strings.join([words, _END]), "UTF-8")
        begin, end = spelled.row_starts(), spelled.row_limits() - 1  # int64 [words]
        word = spelled.value_rowids()  # int64 [c], as is `place`
        place = tf.range(tf.size(word, tf.int64))
        begins_word = place == tf.gather(begin, word)
        nodes = self._longest_matches(
            spelled.values, tf.where(begins_word, np.int64(0), np.int64(1))
        )
        begins_piece = _follow(begin, tf.gather(self._depths, nodes))
        # A word has a split if its pieces lead to its end.
        is_split = tf.gather(tf.gather(begins_piece, end), word)
        ids = tf.where(is_split, tf.gather(self._ids, nodes), self._unknown)
        kept = tf.where(is_split, begins_piece, begins_word) & (
            place < tf.gather(end, word)
        )
        pieces = tf.ragged.boolean_mask(
            spelled.with_values(ids), spelled.with_values(kept)
        )
        return tf.gather(pieces, number)

    def _longest_matches(self, chars: tf.Tensor, roots: tf.Tensor) -> tf.Tensor:
        """Finds the longest piece that begins at each character.

        Args:
          chars: int32 [c].
          roots: int64 [c], where in the trie to begin.

        Returns:
          int64 [c], the node where that piece ends; the root if there is none.
        """

        def turn(
            place: tf.Tensor, node: tf.Tensor, depth: tf.Tensor, longest: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            # place, node: int64 [a], where matches began, and how far they have come.
            char = tf.cast(tf.gather(chars, place + depth), tf.int64)
            key = tf.bitwise.left_shift(node, np.int64(_CHAR_BITS)) | char
            # The last key that is not greater: no character comes before a root.
            node = tf.searchsorted(self._keys, key, "right", tf.int64) - 1
            goes_on = tf.where(tf.gather(self._keys, node) == key)[:, 0]
            place, node = tf.gather(place, goes_on), tf.gather(node, goes_on)
            is_piece = tf.where(tf.gather(self._ids, node) >= 0)
            longest = tf.tensor_scatter_nd_update(
                longest, tf.gather(place, is_piece), tf.gather_nd(node, is_piece)
            )
            return place, node, depth + 1, longest

        some = tf.TensorShape([None])
        _, _, _, longest = tf.while_loop(
            lambda place, *_: tf.size(place) > 0,
            turn,
            (tf.range(tf.size(roots, tf.int64)), roots, np.int64(0), roots),
            shape_invariants=(some, some, tf.TensorShape([]), some),
        )
        return longest


def _follow(begin: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Goes through words from piece to piece, as far as there are pieces.

    Args:
      begin: int64 [w], where each word begins.
      lengths: int32 [c], of the piece at each character; 0 where there is none.

    Returns:
      bool [c], where a piece was looked for.
    """

    def turn(place: tf.Tensor, is_met: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_met = tf.tensor_scatter_nd_update(
            is_met, place[:, tf.newaxis], tf.ones_like(place, tf.bool)
        )
        length = tf.cast(tf.gather(lengths, place), tf.int64)
        return tf.boolean_mask(place + length, length > 0), is_met

    some = tf.TensorShape([None])
    _, is_met = tf.while_loop(
        lambda place, _: tf.size(place) > 0,
        turn,
        (begin, tf.zeros_like(lengths, tf.bool)),
        shape_invariants=(some, some),
    )
    return is_met
