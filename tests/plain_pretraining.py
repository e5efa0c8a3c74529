"""create_pretraining_data.py's procedure in plain Python: lists, strings, one core."""

import collections
import random

import tensorflow as tf

Instance = collections.namedtuple(
    "Instance", "tokens segment_ids is_random_next positions labels unmasked"
)


def read_documents(paths, tokenizer) -> list[list[list[str]]]:
    """Documents of segments of pieces; a document may go on in the next file."""
    documents: list[list[list[str]]] = [[]]
    for path in paths:
        with open(path, encoding="utf-8", newline="\n") as reader:
            for line in reader:
                line = line.replace("\r", "").strip()
                if not line:
                    documents.append([])
                if tokens := tokenizer.tokenize(line):
                    documents[-1].append(tokens)
    return [document for document in documents if document]


def create_instances(documents, vocab_words, args, rng: random.Random):
    """All instances in the release's order.

    Args:
      documents: Of segments of pieces.
      vocab_words: What a random piece is drawn from.
      args: dupe_factor, max_seq_length, short_seq_prob, masked_lm_prob,
        max_predictions_per_seq, do_whole_word_mask.
      rng: What everything is drawn from.
    """
    documents = list(documents)
    rng.shuffle(documents)
    instances = [
        instance
        for _ in range(args["dupe_factor"])
        for index in range(len(documents))
        for instance in from_document(documents, index, vocab_words, args, rng)
    ]
    rng.shuffle(instances)
    return instances


def from_document(documents, index, vocab_words, args, rng):
    document = documents[index]
    most = args["max_seq_length"] - 3
    target = most
    if rng.random() < args["short_seq_prob"]:
        target = rng.randint(2, most)
    chunk: list[list[str]] = []
    i = 0
    while i < len(document):
        chunk.append(document[i])
        if i < len(document) - 1 and sum(map(len, chunk)) < target:
            i += 1
            continue
        a_end = 1
        if len(chunk) >= 2:
            a_end = rng.randint(1, len(chunk) - 1)
        tokens_a = [token for segment in chunk[:a_end] for token in segment]
        tokens_b: list[str] = []
        is_random = len(chunk) == 1 or rng.random() < 0.5
        if is_random:
            for _ in range(10):
                other = rng.randint(0, len(documents) - 1)
                if other != index:
                    break
            start = rng.randint(0, len(documents[other]) - 1)
            for segment in documents[other][start:]:
                tokens_b += segment
                if len(tokens_b) >= target - len(tokens_a):
                    break
            i -= len(chunk) - a_end
        else:
            tokens_b = [token for segment in chunk[a_end:] for token in segment]
        while len(tokens_a) + len(tokens_b) > most:
            longer = tokens_a if len(tokens_a) > len(tokens_b) else tokens_b
            longer.pop(0 if rng.random() < 0.5 else -1)
        tokens = ["[CLS]", *tokens_a, "[SEP]", *tokens_b, "[SEP]"]
        shown, masked = mask(tokens, vocab_words, args, rng)
        yield Instance(
            shown,
            [0] * (len(tokens_a) + 2) + [1] * (len(tokens_b) + 1),
            is_random,
            [position for position, _ in masked],
            [label for _, label in masked],
            tokens,
        )
        chunk = []
        i += 1


def mask(tokens, vocab_words, args, rng):
    """The pieces as they are shown, and (position, piece) of what was chosen."""
    candidates: list[list[int]] = []
    for i, token in enumerate(tokens):
        if token in ("[CLS]", "[SEP]"):
            continue
        if args["do_whole_word_mask"] and candidates and token.startswith("##"):
            candidates[-1].append(i)
        else:
            candidates.append([i])
    rng.shuffle(candidates)
    wanted = max(1, round(len(tokens) * args["masked_lm_prob"]))
    wanted = min(args["max_predictions_per_seq"], wanted)
    shown = list(tokens)
    masked: list[tuple[int, str]] = []
    for group in candidates:
        if len(masked) >= wanted:
            break
        if len(masked) + len(group) > wanted:
            continue
        for i in group:
            if rng.random() < 0.8:
                shown[i] = "[MASK]"
            elif rng.random() >= 0.5:
                shown[i] = vocab_words[rng.randint(0, len(vocab_words) - 1)]
            masked.append((i, tokens[i]))
    return shown, sorted(masked)


def serialize(instance, tokenizer, args) -> bytes:
    """The record of an instance, one feature at a time."""
    length, predictions = args["max_seq_length"], args["max_predictions_per_seq"]
    ids = tokenizer.convert_tokens_to_ids(instance.tokens)
    labels = tokenizer.convert_tokens_to_ids(instance.labels)
    example = tf.train.Example()
    for name, values, size in (
        ("input_ids", ids, length),
        ("input_mask", [1] * len(ids), length),
        ("segment_ids", instance.segment_ids, length),
        ("masked_lm_positions", instance.positions, predictions),
        ("masked_lm_ids", labels, predictions),
        ("next_sentence_labels", [int(instance.is_random_next)], 1),
    ):
        padded = [*values, *[0] * (size - len(values))]
        example.features.feature[name].int64_list.value.extend(padded)
    weights = [1.0] * len(labels) + [0.0] * (predictions - len(labels))
    example.features.feature["masked_lm_weights"].float_list.value.extend(weights)
    return example.SerializeToString()
