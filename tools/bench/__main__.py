"""Measure the server. Compare ratios: absolute figures are those of one machine on one day."""

import argparse
import signal
import sys
from types import FrameType

from tools.bench import compare, endure, footprint, growth, observe, roll, scale
from tools.bench.report import make_console

COMMANDS = {
    "compare": compare,
    "growth": growth,
    "scale": scale,
    "roll": roll,
    "endure": endure,
    "observe": observe,
    "footprint": footprint,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="just bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        module.add_arguments(commands.add_parser(name, help=summary, description=module.__doc__))
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        COMMANDS[options.command].run(options)
    except RuntimeError as error:
        make_console().print(str(error), markup=False, style="red", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        make_console().print("Interrupted; all processes are stopped.")
        sys.exit(130)


def _interrupt(number: int, _: FrameType | None) -> None:
    """Interrupt once: a second signal must not stop the cleaning up."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
