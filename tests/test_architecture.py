"""Who may import whom, how long things may be, and what may not stand in the house at all."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*ROOT.glob("coolctl/**/*.py"), *ROOT.glob("sim_plant/**/*.py"), *ROOT.glob("tools/*.py")])
FILE_LINES_MAX, FUNCTION_LINES_MAX = 400, 60

# A module may import from its own floor and from below. `pkg` stands for everything in it.
FLOORS = (
    ("jit", "errors", "strict_json", "toml_lines", "schema_base", "invariants", "paths", "cli_args", "backend", "bounded_http", "children"),
    ("num", "units", "psychro", "column_kernels", "column_codec", "write_ahead", "recording", "lease", "proof", "onnx_graph", "toml_model", "equipment_schema", "edge_schema", "measure_schema", "site_schema"),
    ("points", "shared_telemetry", "dialects", "tariff", "site_points", "site_nominal", "site_checks", "site"),
    ("thermal",),
    ("control",),
    ("edge", "training", "savings", "gateway", "decision_json", "trace", "trends", "controller", "audit", "outlook",
     "daemon_state"),
    ("daemon_link", "ingest", "daemon_node", "journal_lines", "metrics_view", "warmup", "reload", "doctor", "daemon", "promotion", "gateway_main", "web",
     "replay", "replay_whatif", "demo", "cli", "cli_check",
     "cli_evaluate", "cli_mode", "cli_points", "cli_outlook", "cli_calibrate", "cli_commission", "cli_report", "cli_verify",
     "bundle", "cli_bundle"),
    ("bench", "cli_bench"),
)  # fmt: skip
PURE = ("coolctl.thermal.", "coolctl.control.")
NOT_IN_PURE = {"time", "datetime", "socket", "threading", "logging", "os", "pathlib", "paho", "prometheus_client", "onnxruntime"}
MAY_KNOW_THE_PLANT = {"coolctl.demo", "coolctl.cli_evaluate", "coolctl.cli_commission"}
READER = "tools.metrics_page"  # reads the exposition as a scraper does
BENCH = "coolctl.bench."  # sets a library's own way beside ours, and drives the plant that it measures
OWNERS = {
    "paho": "coolctl.edge.mqtt",
    "prometheus_client": "coolctl.edge.metrics",
    "onnxruntime": "coolctl.edge.onnx_policy",
    "distributed": "coolctl.backend",
}
CATCH_ALL = {
    "coolctl.control.tick": "whatever a network does, the rule baseline goes on",
    "tools.faults": "a row that fails is a result; the rows after it are still played",
    "tools.soak": "what raises in an episode is a violation; the episodes after it are still played",
    "coolctl.reload": "a fault of ours in reading must be answered like one in the file: the old site stays",
    "coolctl.edge.time_box": "what the network's thread meets is raised again where the answer was asked for",
    "coolctl.edge.onnx_policy": "the engine raises many kinds; each means a policy that is not admitted",
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in FILES}


def imports(source: str) -> set[str]:
    """Every module named by an import, `from coolctl import x` as `coolctl.x`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{a.name}" for a in node.names} & MODULES
            found |= inside or {node.module}
    return found


def floor(module: str) -> int:
    name = module.split(".")[1]
    return next(k for k, names in enumerate(FLOORS) if name in names)


def _one_edge(module: str, other: str) -> bool:
    """`mqtt_probe` is the edge `mqtt` too, `metrics_text` the edge `metrics`."""
    return module.startswith(other) or other.startswith(module)


def faults_of_layering(module: str, source: str) -> Iterator[str]:
    """What this module imports that it may not."""
    for other in imports(source):
        top = other.split(".")[0]
        if top in OWNERS and not module.startswith((OWNERS[top], BENCH, READER)):  # `mqtt_probe` is the edge `mqtt` too
            yield f"{top} belongs to {OWNERS[top]}"
        if module.startswith(PURE) and top in NOT_IN_PURE:
            yield f"{other}: the control law is told the time and talks to nobody"
        if module.startswith("sim_plant") and other.startswith(PURE):
            yield f"{other}: a plant that shares the controller's equations proves nothing"
        if module.startswith("coolctl."):
            if top == "sim_plant" and module not in MAY_KNOW_THE_PLANT and not module.startswith(BENCH):
                yield f"{other}: only the commands at the top know the simulated plant"
            if other.startswith("coolctl."):
                if floor(other) > floor(module):
                    yield f"{other} is above it"
                if module.startswith("coolctl.edge.") and other.startswith("coolctl.edge.") and not _one_edge(module, other):
                    yield f"{other}: edges do not know each other"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_module_imports_only_from_its_floor_and_below(path: Path) -> None:
    module = module_of(path)
    if module not in ("coolctl", "coolctl.__main__"):
        assert not list(faults_of_layering(module, path.read_text()))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("coolctl.control.x", "import time"),
        ("coolctl.thermal.x", "from coolctl.control import tick"),
        ("coolctl.points", "from coolctl.site import load_site\nfrom coolctl.edge.web import x"),
        ("coolctl.edge.web", "from coolctl.edge.mqtt import MqttClient"),
        ("coolctl.daemon", "from sim_plant.plant import SimPlant"),
        ("coolctl.web", "import paho.mqtt.client"),
        ("sim_plant.bms", "from coolctl.thermal.plant import evaluate_plant"),
    ],
)
def test_layering_check_sees_a_wrong_import(module: str, source: str) -> None:
    assert list(faults_of_layering(module, source))


def long_ones(source: str) -> list[str]:
    functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > FUNCTION_LINES_MAX]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_can_be_read_without_scrolling_far(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= FILE_LINES_MAX
    assert not long_ones(source)


def test_length_check_sees_a_long_function() -> None:
    assert long_ones("def f():\n" + "    x = 1\n" * 60) == ["f"] and not long_ones("def f():\n" + "    x = 1\n" * 59)


def catch_alls(source: str) -> int:
    handlers = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ExceptHandler)]
    return sum(h.type is None or (isinstance(h.type, ast.Name) and h.type.id in ("Exception", "BaseException")) for h in handlers)


def test_everything_is_caught_only_where_a_reason_is_given() -> None:
    found = {module_of(p) for p in FILES if catch_alls(p.read_text())}
    assert found == set(CATCH_ALL)
    assert catch_alls("try:\n    f()\nexcept:\n    pass") == catch_alls("try:\n    f()\nexcept Exception:\n    pass") == 1


# Written in halves, because this file is searched like every other.
INDEX_HOSTS = tuple("".join(halves) for halves in (("py", "pi.org"), ("python", "hosted"), ("npm", "js"), ("arti", "factory")))
FOREIGN = re.compile("|".join((r"/(?:work|home|root|Users)/\w", *map(re.escape, INDEX_HOSTS), r"\bindex-url\b")), re.IGNORECASE)
LOCK_FILES = re.compile(r"(^|/)(uv\.lock|poetry\.lock|Pipfile\.lock|package-lock\.json|pip\.conf)$")


def test_repository_names_no_machine_no_index_host_and_holds_no_lock_file() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = [n for n in listed.stdout.splitlines() if n and (ROOT / n).is_file()] or [str(p.relative_to(ROOT)) for p in FILES]
    assert not [n for n in names if LOCK_FILES.search(n)]
    texts = [n for n in names if Path(n).suffix not in (".onnx", ".png", ".gz")]
    assert not [n for n in texts if FOREIGN.search((ROOT / n).read_text(encoding="utf-8"))]
    assert FOREIGN.search("see /" + "home/me/x") and FOREIGN.search("--index" + "-url x") and LOCK_FILES.search("a/uv.lock")
    assert all(FOREIGN.search(f"https://{host}/simple") for host in INDEX_HOSTS)


def test_pure_layers_do_not_print() -> None:
    for path in FILES:
        if module_of(path).startswith(PURE):
            calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
            assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("print", "open", "input")], path


def test_daemon_process_never_loads_training_or_plant() -> None:
    code = "import sys, coolctl.daemon, coolctl.gateway_main; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "coolctl" in loaded and "paho" in loaded
    assert not loaded & {
        "sklearn",
        "onnx",
        "skl2onnx",
        "joblib",
        "distributed",
        "pandas",
        "sim_plant",
        "amqtt",
        "playwright",
        "pytest",
    }
