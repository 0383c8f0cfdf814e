"`python -m catalyst` and the `catalyst` command"

import sys


def main() -> int:
    "Run the command line"
    from catalyst.cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
