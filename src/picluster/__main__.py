"""`python -m picluster` is the command `picluster`."""

from picluster.cli import main

main()
