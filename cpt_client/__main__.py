"""`python -m cpt_client` is `cpt`."""

from cpt_client.cli import main

if __name__ == "__main__":
    main()
