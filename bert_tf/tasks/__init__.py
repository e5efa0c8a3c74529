"""What is trained: examples, features, head, loss, metrics, prediction files."""
