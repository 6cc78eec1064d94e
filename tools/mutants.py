"""Changes the safety code one small thing at a time and runs the tests that reach it: `make mutants ARGS="--only gateway"`.

A change that no test notices is a survivor: a hole in the tests, dead code, or a change that changes nothing. The tests run
once in this process, so that imports and kernels are paid for once and it is known which test reaches which line; then each
mutant is put into a forked child, where whatever depends on the changed module is imported anew. Results are lines of
build/mutants.jsonl: a run that was ended goes on where it stopped. `--again` tries the survivors once more, `--table` writes
the scores into docs/SAFETY.md.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import coverage  # noqa: E402
import pytest  # noqa: E402

from tools.marks import write_between  # noqa: E402
from tools.mutations import Mutant, mutants  # noqa: E402

FILES = tuple(
    f"coolctl/{name}.py"
    for name in (
        "gateway",
        "lease",
        "strict_json",
        "dialects/decoder",
        "dialects/native",
        "dialects/route",
        "control/mode",
        "control/shield",
        "control/ranges",
        "control/foresight",
        "control/heat",
        "control/machines",
        "proof",
        "onnx_graph",
    )
)
# Mostly kernels: compiled, no line of them would be seen, and each mutant would be seconds of compiling. Tried in plain Python,
# by tests of their own; that compiled and plain are the same is a test too.
PLAIN_FILES = tuple(f"coolctl/control/{name}.py" for name in ("foresight", "heat", "machines"))
PLAIN_TESTS = ("tests/test_foresight.py", "tests/test_weighed.py", "tests/test_machines.py")
PLAIN_PATIENCE_S = 10.0
TESTS = tuple(
    f"tests/test_{name}.py"
    for name in (
        "wire", "gateway", "control", "admission", "safety_edges", "shield", "mode", "enforcer", "messages", "proof",
        "dialects", "dsx", "sparkplug", "foresight",
    )
)  # fmt: skip
RESULTS = ROOT / "build" / "mutants.jsonl"
PAGE, MARK = ROOT / "docs" / "SAFETY.md", "mutants"
BAR = 0.95
PATIENCE_S = 0.5  # tests that take longer are left out: what counts is found by quick ones
SLOWER, SPARE_S = 5.0, 10.0  # a mutant that takes so many times longer, and so much more, hangs
KILLED, SURVIVED, HANGS, EQUAL = "killed", "SURVIVED", "hangs", "changes nothing"


class Reach(NamedTuple):
    """Which tests run each line of a file, and how long a test takes."""

    lines: dict[str, dict[int, set[str]]]
    seconds: dict[str, float]


class Watch:
    """Plugin of the first run: the lines that each test reaches, and its time."""

    def __init__(self, root: Path, files: tuple[str, ...]):
        self.names = {str(root / f): f for f in files}
        self.coverage = coverage.Coverage(data_file=None, include=list(self.names), config_file=False)
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        self.coverage.switch_context(item.nodeid)
        yield

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call":  # what a test shares with others is not its own time
            self.seconds[report.nodeid] = report.duration

    def reach(self) -> Reach:
        """What was seen."""
        data = self.coverage.get_data()
        lines = {
            name: {n: {c for c in tests if c} for n, tests in data.contexts_by_lineno(path).items()}
            for path, name in self.names.items()
        }
        return Reach(lines, self.seconds)


class Chosen:
    """Plugin of a mutant's run: only these tests, in this order; the first that fails is said."""

    def __init__(self, tests: list[str], say: int):
        self.place = {test: k for k, test in enumerate(tests)}
        self._say = say

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.place), key=lambda i: self.place[i.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            os.write(self._say, report.nodeid.encode() + b"\n")


LEFT_OUT = ("cacheprovider", "xdist", "timeout", "faulthandler", "unraisableexception", "threadexception")
PLAIN = ("-x", "-q", "--tb=no", "--no-header", "--no-summary", "--assert=plain", "-W", "ignore")
OPTIONS = [*PLAIN, *(f"-pno:{p}" for p in LEFT_OUT)]


def first_run(root: Path, files: tuple[str, ...], tests: list[str], patience_s: float) -> Reach:
    """Every test once on the unchanged code; tests slower than `patience_s` are left out of what follows."""
    watch = Watch(root, files)
    watch.coverage.start()
    failed = pytest.main([*OPTIONS, *(str(root / t) for t in tests)], plugins=[watch])
    watch.coverage.stop()
    if failed:
        raise SystemExit("the tests do not pass on the unchanged code")
    reach = watch.reach()
    quick = {test for test, seconds in reach.seconds.items() if seconds <= patience_s}
    return Reach({f: {n: ids & quick for n, ids in lines.items()} for f, lines in reach.lines.items()}, reach.seconds)


def module_name(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def dependents(root: Path, name: str) -> list[str]:
    """Loaded modules of this tree that import `name`, directly or not, and every test module."""
    needs: dict[str, set[str]] = {}
    for module, loaded in list(sys.modules.items()):
        path = getattr(loaded, "__file__", None)
        if not path or not path.endswith(".py") or root not in Path(path).parents:
            continue
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        used = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                used |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
        needs[module] = used
    found = {name} | {m for m in needs if m == "conftest" or m.startswith("test_")}
    while more := {m for m, used in needs.items() if used & found} - found:
        found |= more
    return sorted(found - set(parents(name)))  # the packages above it stay, and take the changed names anew


def parents(name: str) -> list[str]:
    """The packages above a module, the nearest first."""
    return [name.rsplit(".", k)[0] for k in range(1, name.count(".") + 1)]


def put_in(root: Path, mutant: Mutant, away: list[str]) -> None:
    """The changed module in place of the loaded one; what depended on it is forgotten and so imported anew."""
    for name in away:
        parent, _, own = name.rpartition(".")
        if sys.modules.pop(name, None) is not None and parent in sys.modules:
            vars(sys.modules[parent]).pop(own, None)
    name = module_name(mutant.file)
    parent, _, own = name.rpartition(".")
    spec = importlib.util.spec_from_file_location(name, root / mutant.file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if parent:
        setattr(sys.modules[parent], own, module)
    exec(compile(mutant.text, str(root / mutant.file), "exec"), vars(module))
    for package in parents(name):
        importlib.reload(sys.modules[package])  # one that names what is in it still has the old ones


def in_child(root: Path, mutant: Mutant, tests: list[str], away: list[str], say: int) -> None:
    """Never returns. Whatever goes wrong, the import of the changed module included, is a mutant noticed."""
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        put_in(root, mutant, away)
        files = list(dict.fromkeys(str(root / t.split("::")[0]) for t in tests))
        code = int(pytest.main([*OPTIONS, "--rootdir", str(root), *files], plugins=[Chosen(tests, say)]))
    finally:
        os._exit(1 if code else 0)


def try_out(root: Path, mutant: Mutant, tests: list[str], away: list[str], limit_s: float) -> tuple[str, str]:
    """What becomes of a mutant, and by which test."""
    if not tests:
        return SURVIVED, "no test reaches it"
    listen, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(listen)
        in_child(root, mutant, tests, away, say)
    os.close(say)
    heard, deadline_s = b"", time.monotonic() + limit_s
    while (left_s := deadline_s - time.monotonic()) > 0.0 and select.select([listen], [], [], left_s)[0]:
        piece = os.read(listen, 4096)
        if not piece:
            break
        heard += piece
    else:
        os.kill(child, signal.SIGKILL)
    os.close(listen)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return HANGS, f"after {limit_s:.0f} s"
    if status == 0:
        return SURVIVED, ""
    return KILLED, heard.decode().split("\n")[0] or "import"


def in_order(mutant: Mutant, reach: Reach, kills: Counter[str], patience_s: float) -> list[str]:
    """The tests that reach a mutant: those that noticed most so far first, then the quick ones."""
    lines = reach.lines[mutant.file]
    tests = set().union(*(lines.get(n, set()) for n in range(mutant.line, mutant.end + 1)))
    if not mutant.place or _is_table(mutant):
        about = {t.split("::")[0] for t in set().union(*lines.values())}
        tests = {t for t, s in reach.seconds.items() if s <= patience_s and t.split("::")[0] in about}
    return sorted(tests, key=lambda t: (reach.seconds[t] / (1.0 + 4.0 * kills[t]), t))


def _is_table(mutant: Mutant) -> bool:
    """What is run where a class or a function is made, not where it is called: fields and defaults."""
    return mutant.before.startswith("def ") or (mutant.place[:1].isupper() and "." not in mutant.place)


def known(results: Path) -> dict[str, dict[str, Any]]:
    """The newest result of each mutant."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return {r["id"]: r for r in map(json.loads, lines)}


def run(
    root: Path, files: tuple[str, ...], tests: list[str], results: Path, again: bool = False, patience_s: float = PATIENCE_S,
    only: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    """Try what is not known yet, or `only` some; with `again` also what survived."""
    done = known(results)
    todo = [m for f in files for m in mutants(root / f, root) if not only or m.id in only]
    todo = [m for m in todo if m.id not in done or (again and done[m.id]["state"] == SURVIVED)]
    print(f"{len(todo)} mutants to try in {len(files)} files", flush=True)
    if not todo:
        return
    reach = first_run(root, files, tests, patience_s)
    results.parent.mkdir(exist_ok=True)
    kills: dict[str, Counter[str]] = {f: Counter() for f in files}
    away = {f: dependents(root, module_name(f)) for f in files}
    gc.collect()
    gc.freeze()  # the children share these pages and need not look at them
    for file in files:
        same = unchanged(root, file)
        chosen = in_order(same, reach, Counter(), patience_s)
        state, by = try_out(root, same, chosen, away[file], SLOWER * sum(reach.seconds[t] for t in chosen) + 60.0)
        if state != SURVIVED:
            raise SystemExit(f"{file}: unchanged, it does not pass in a child: {state} {by}")
    with results.open("a", encoding="utf-8") as stream:
        for k, mutant in enumerate(todo, 1):
            chosen = in_order(mutant, reach, kills[mutant.file], patience_s)
            limit_s = SLOWER * sum(reach.seconds[t] for t in chosen) + SPARE_S
            began_s = time.monotonic()
            state, by = try_out(root, mutant, chosen, away[mutant.file], limit_s)
            kills[mutant.file][by] += state == KILLED
            seconds = round(time.monotonic() - began_s, 2)
            stream.write(json.dumps({"id": mutant.id, "state": state, "by": by, "seconds": seconds}, ensure_ascii=False) + "\n")
            stream.flush()
            if state != KILLED or k % 50 == 0:
                print(f"[{k}/{len(todo)}] {state} {say(mutant)}", flush=True)


def unchanged(root: Path, file: str) -> Mutant:
    """No change at all: what does not survive even this would be counted as noticed for a wrong reason."""
    return Mutant("", file, 1, 1, "", "none", "", "", (root / file).read_text(encoding="utf-8"))


def say(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line} ({mutant.kind}) {mutant.before[:100]}  →  {mutant.after[:100]}"


class Score(NamedTuple):
    """Of one file; what changes nothing counts neither way."""

    file: str
    killed: int
    equal: int
    survivors: list[Mutant]
    untried: int

    @property
    def ratio(self) -> float:
        return self.killed / max(self.killed + len(self.survivors), 1)


def scores(root: Path, files: tuple[str, ...], results: Path, equal: Iterable[Any] = ()) -> list[Score]:
    """What is known, file by file. `equal` names mutants by file, line before and after, and where it must, the function."""
    named = {(e.file, e.before, e.after, e.place) for e in equal}
    done, found = known(results), []
    for file in files:
        listed = mutants(root / file, root)
        states = Counter[str]()
        survivors = []
        for m in listed:
            state = done[m.id]["state"] if m.id in done else "untried"
            if state == SURVIVED and named & {(m.file, m.before, m.after, place) for place in ("", m.place)}:
                state = EQUAL
            states[state] += 1
            if state == SURVIVED:
                survivors.append(m)
        found.append(Score(file, states[KILLED] + states[HANGS], states[EQUAL], survivors, states["untried"]))
    return found


def table(found: list[Score]) -> str:
    """The scores as Markdown."""
    lines = ["| file | mutants | killed | survive | change nothing | score |", "|---|---|---|---|---|---|"]
    for s in found:
        count = s.killed + s.equal + len(s.survivors) + s.untried
        said = f"{100.0 * s.ratio:.1f} %" + (f" ({s.untried} not tried)" if s.untried else "")
        lines.append(f"| `{s.file}` | {count} | {s.killed} | {len(s.survivors)} | {s.equal} | {said} |")
    return "\n".join(lines)


def try_all(files: tuple[str, ...], again: bool, patience_s: float) -> None:
    """The compiled code in this process, and what is tried in plain Python in one of its own."""
    plain = tuple(f for f in files if f in PLAIN_FILES)
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        run(ROOT, plain, list(PLAIN_TESTS), RESULTS, again, patience_s)
        return
    if compiled := tuple(f for f in files if f not in PLAIN_FILES):
        run(ROOT, compiled, list(TESTS), RESULTS, again, patience_s)
    if plain:
        names = ",".join(Path(f).stem for f in plain)
        command = [sys.executable, "-m", "tools.mutants", "--only", names, "--patience", str(max(patience_s, PLAIN_PATIENCE_S))]
        subprocess.run(
            [*command, *(["--again"] if again else [])], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, cwd=ROOT, check=False
        )


def main() -> int:
    from equal_mutants import EQUALS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of files, with commas between: gateway,mode")
    parser.add_argument("--again", action="store_true", help="try the survivors once more")
    parser.add_argument("--table", action="store_true", help="write the scores into the page")
    parser.add_argument("--show", action="store_true", help="only say what is known")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, metavar="S", help="leave tests out that take longer")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else [Path(f).stem for f in FILES]
    files = tuple(f for f in FILES if Path(f).stem in wanted)
    if not args.show:
        try_all(files, args.again, args.patience)
    found = scores(ROOT, files, RESULTS, EQUALS)
    for mutant in (m for s in found for m in s.survivors):
        print("survives:", say(mutant))
    print(table(found))
    if args.table:
        write_between(PAGE, MARK, table(found))
    return 0 if all(s.ratio >= BAR and not s.untried for s in found) else 1


if __name__ == "__main__":
    sys.exit(main())
