"""The laboratory: a question in, an answer out. It stands on the library, which never imports it."""
