"""Language models: a network, its tokenizer and its chat format, from a folder or built on the spot."""
