"""The command line: one verb, one module. Only the chosen verb's module is imported, so `--help` stays quick."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

from coolctl import __version__
from coolctl.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, CoolctlError

VERBS = (
    ("run", "coolctl.daemon", "the controller daemon"),
    ("gateway", "coolctl.gateway_main", "the enforcer beside the BMS"),
    ("demo", "coolctl.demo", "broker, simulated plant, gateway, controller and page in one command"),
    ("web", "coolctl.web", "the live page, a process of its own that only listens"),
    ("mode", "coolctl.cli_mode", "show or grant the operating mode"),
    ("check-config", "coolctl.cli_check", "all faults of a site file at once"),
    ("points", "coolctl.cli_points", "the point list of a site"),
    ("doctor", "coolctl.doctor", "looks at everything that a site needs, and says what to do"),
    ("evaluate", "coolctl.cli_evaluate", "compare controllers in closed loop on the simulated plant"),
    ("replay", "coolctl.replay", "the same decisions from a recording, bit for bit"),
    ("outlook", "coolctl.cli_outlook", "what would have become of the racks if a machine had stopped, from a recording"),
    ("calibrate", "coolctl.cli_calibrate", "what a recording tells of the plant's machines, and what it cannot"),
    ("import", "coolctl.trends.cli_import", "trend logs into a recording; --probe says what they are"),
    ("export", "coolctl.trends.cli_export", "a recording as CSV, Parquet or line protocol"),
    ("commission", "coolctl.cli_commission", "small supervised steps of each setpoint, and what answers them"),
    ("report", "coolctl.cli_report", "what recordings say is saved, with its uncertainty, service and key figures"),
    ("bench", "coolctl.cli_bench", "what everything costs on this machine, beside references of the same run"),
    ("verify", "coolctl.cli_verify", "whether a policy is what its passport says, and fits a site"),
    ("bundle", "coolctl.cli_bundle", "site file, limits and policy in one signed file, for a site without a link"),
    ("train", "coolctl.training.cli", "make a policy: expert labels, network, ONNX and passport"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((a for a in arguments if not a.startswith("-")), "")
    known = {name: (module, text) for name, module, text in VERBS if importlib.util.find_spec(module)}
    if verb not in known:
        parser = _overview(known)
        parser.parse_args(arguments)
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    module = importlib.import_module(known[verb][0])
    parser = argparse.ArgumentParser(f"coolctl {verb}", description=(module.__doc__ or "").split("\n")[0])
    module.add_arguments(parser)
    arguments.remove(verb)
    args = parser.parse_args(arguments)
    return _run(module, args)


def _run(module: object, args: argparse.Namespace) -> int:
    try:
        code: int = module.main(args)  # type: ignore[attr-defined]
    except CoolctlError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader has gone (`| head`): keep the interpreter from complaining at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return code


def _overview(known: dict[str, tuple[str, str]]) -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<14}{text}" for name, (_, text) in known.items())
    parser = argparse.ArgumentParser(
        "coolctl", description="AI-driven cooling controller for data centres", epilog=f"verbs:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter, usage="coolctl VERB [options]",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"coolctl {__version__}")
    parser.add_argument("verb", nargs="?", choices=list(known), metavar="VERB")
    return parser


if __name__ == "__main__":
    sys.exit(main())
