"""The scores of conlleval (Tjong Kim Sang, 2002), in plain Python: IOB1 and IOB2."""


def conlleval(text: str) -> dict[str, float]:
    """Returns `precision`, `recall` and `f1` over all entities, in [0, 1].

    Args:
      text: A word a line, whose last two columns are its right and its predicted tag,
        and an empty line after each sentence.
    """
    right: set[tuple] = set()
    predicted: set[tuple] = set()
    for column, found in ((-2, right), (-1, predicted)):
        start, kind = 0, ""  # of the entity that goes on; none if its type is empty
        for number, line in enumerate([*text.split("\n"), ""]):
            prefix, _, new = (
                line.split()[column].partition("-") if line else ("O", "", "")
            )
            if kind and (prefix != "I" or new != kind):
                found.add((start, number, kind))
                kind = ""
            if prefix != "O" and not kind:
                start, kind = number, new
    both = len(right & predicted)
    precision, recall = both / max(len(predicted), 1), both / max(len(right), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"precision": precision, "recall": recall, "f1": f1}
