"""The made-up world of a sandbox: what it holds, how it is generated, sample names."""
