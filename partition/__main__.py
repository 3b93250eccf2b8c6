"""``python -m partition`` is ``dnn-partition``."""

from partition.cli import main

if __name__ == "__main__":
    main()
