"""``python -m partition`` is ``dnn-partition``."""

from partition.command import main

if __name__ == "__main__":
    main()
