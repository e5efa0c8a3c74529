"""Losses, normalised as the release normalises them."""

from typing import Any

from keras import ops

# Keeps the masked-LM loss finite for a batch without any masked position.
_NO_WEIGHT = 1e-5


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Returns each row's cross entropy in nats.

    TensorFlow's fused op: it makes loss and gradient in one pass, so that beside the
    logits only the gradient has their shape. Log-probabilities times one-hot labels,
    as in the release, are the same number with several such tensors.

    Args:
      logits: float `[..., L]`; the loss is taken in float32.
      labels: integer `[...]`, from 0 to L - 1; another one raises on CPU and makes
        its row's loss NaN on GPU.

    Returns:
      float32 `[...]`.
    """
    logits = ops.cast(logits, "float32")
    return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def sigmoid_cross_entropy(logits: Any, labels: Any) -> Any:
    """Returns the binary cross entropy of each label for itself, in nats.

    Args:
      logits: float `[..., L]`; the loss is taken in float32.
      labels: 0 or 1, `[..., L]`.

    Returns:
      float32 `[..., L]`.
    """
    logits = ops.cast(logits, "float32")
    return ops.softplus(logits) - logits * ops.cast(labels, "float32")


def soft_cross_entropy(logits: Any, teacher_logits: Any, temperature: float) -> Any:
    """Returns how far each row is from what a teacher says, in nats.

    The divergence of both softmaxes at a temperature, times its square, by which
    gradients are of one size at every temperature; 0 where both say the same.

    Args:
      logits: float `[..., L]`; the loss is taken in float32.
      teacher_logits: float `[..., L]`.
      temperature: By which both are divided.

    Returns:
      float32 `[...]`.

    Source: Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.
    """
    ours = ops.log_softmax(ops.cast(logits, "float32") / temperature, axis=-1)
    theirs = ops.log_softmax(ops.cast(teacher_logits, "float32") / temperature, axis=-1)
    return temperature**2 * ops.sum(ops.exp(theirs) * (theirs - ours), axis=-1)


def soft_sigmoid_cross_entropy(
    logits: Any, teacher_logits: Any, temperature: float
) -> Any:
    """Does the same for labels that are each a decision of their own.

    Returns:
      float32 `[..., L]`.
    """
    ours, theirs = (
        ops.cast(x, "float32") / temperature for x in (logits, teacher_logits)
    )
    probability = ops.sigmoid(theirs)
    # The cross entropy less the teacher's own, of which it is at least as much.
    return temperature**2 * (
        ops.softplus(ours) - ops.softplus(theirs) - probability * (ours - theirs)
    )


def pretraining_loss(outputs: dict[str, Any], features: dict[str, Any]) -> dict:
    """The masked-LM and next-sentence losses of a batch.

    Args:
      outputs: What `BertPretrainer` returns: `masked_lm_logits [B, P, V]`,
        `next_sentence_logits [B, 2]`.
      features: `masked_lm_ids` int `[B, P]`, `masked_lm_weights` float `[B, P]` (0
        for the padding of P), `next_sentence_labels` int `[B, 1]` or `[B]`.

    Returns:
      Dictionary of float32 scalars: `masked_lm_loss`, the weighted sum over the sum
      of weights plus 1e-5; `next_sentence_loss`, the mean; `loss`, their sum.

    Source: `get_masked_lm_output`, `get_next_sentence_output` in
    run_pretraining.py of google-research/bert.
    """
    return pretraining_means(
        pretraining_sums(outputs, features), pretraining_weights(features)
    )


def pretraining_sums(outputs: dict[str, Any], features: dict[str, Any]) -> dict:
    """Returns both losses as sums over positions and rows; float32 scalars."""
    weights = ops.cast(features["masked_lm_weights"], "float32")
    per_position = cross_entropy(outputs["masked_lm_logits"], features["masked_lm_ids"])
    labels = ops.reshape(features["next_sentence_labels"], (-1,))
    per_row = cross_entropy(outputs["next_sentence_logits"], labels)
    return {
        "masked_lm_loss": ops.sum(weights * per_position),
        "next_sentence_loss": ops.sum(per_row),
    }


def pretraining_weights(features: dict[str, Any]) -> dict:
    """Returns how many masked positions and rows these are; float32 scalars."""
    labels = features["next_sentence_labels"]
    return {
        "masked_lm_loss": ops.sum(ops.cast(features["masked_lm_weights"], "float32")),
        "next_sentence_loss": ops.sum(ops.ones_like(labels, dtype="float32")),
    }


def pretraining_means(sums: dict[str, Any], weights: dict[str, Any]) -> dict:
    """Returns what `pretraining_loss` does, of sums and weights.

    Without `next_sentence_loss` among the sums, the loss is that of masked words.
    """
    masked_lm_loss = sums["masked_lm_loss"] / (weights["masked_lm_loss"] + _NO_WEIGHT)
    means = {"loss": masked_lm_loss, "masked_lm_loss": masked_lm_loss}
    if "next_sentence_loss" in sums:
        next_sentence_loss = sums["next_sentence_loss"] / weights["next_sentence_loss"]
        means["loss"] = masked_lm_loss + next_sentence_loss
        means["next_sentence_loss"] = next_sentence_loss
    return means
