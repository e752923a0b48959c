"""Lets `python -m statehouse_sdk.cli` be `statehousectl`."""

from statehouse_sdk.cli.main import main

if __name__ == "__main__":
    main()
