"""What is measured rather than tested; NOTES.md says what came out."""
