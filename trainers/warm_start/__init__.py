"""The warm start: cloning of demonstrations until the success lies in a band, kept while it lasts."""
