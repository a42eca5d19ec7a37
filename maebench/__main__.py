"""`python -m maebench` is `maebench`."""

from maebench.cli.main import main

if __name__ == "__main__":
    main()
