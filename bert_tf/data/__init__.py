"""Record files and the batches made of them; nothing here knows Keras."""
