"""Which target entity each source entity becomes: the file, and rules that fill it."""
