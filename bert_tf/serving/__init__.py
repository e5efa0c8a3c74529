"""What uses a trained model: exports of it, and masks that it fills."""
