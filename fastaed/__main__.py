"""`python -m fastaed`."""

from fastaed.cli import main

main()
