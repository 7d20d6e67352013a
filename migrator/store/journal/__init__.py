"""The journal (manifest) of an archive: each change of the catalog as lines of text, and back."""
