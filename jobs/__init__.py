"""The command line: options in, library called, result printed. The only package that may import every module."""
