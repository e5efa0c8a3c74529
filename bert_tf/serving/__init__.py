"""What uses a trained model: exports, vectors of texts, masks that it fills."""
