"""The programs: thin. Options in, library called, result printed; the only place that knows every module."""
