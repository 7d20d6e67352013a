"""HTTP to one tracker: a request becomes an answer or one of `migrator.errors`."""
