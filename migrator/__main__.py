"""`python -m migrator`."""

from migrator.jobs.cli import main

main()
