"""The plant's machines, each with its own dynamics."""
