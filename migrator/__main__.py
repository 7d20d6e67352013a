"""`python -m migrator`."""

from jobs.cli import main

main()
