"""What the documents promise: every ``omp ...`` line parses, every link leads somewhere, every snippet runs."""

import importlib
import itertools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from omp_cli import core
from omp_cli.app import make_app
from omp_cli.commands import lines
from omp_cli.commands.table import COMMANDS, load
from omp_cli.core.base.errors import OmpError
from omp_cli.core.base.plugins import load_plugin
from tests.conftest import Omp

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "tests/README.md")),
        *(path for folder in ("omp_cli", "examples") for path in (ROOT / folder).rglob("*.md")),
    ]
)
ROOMS = ("suites", "data", "methods", "rl", "measure", "sweep", "deploy")
COMMENTED = sorted(path for kind in ("toml", "py", "sh", "yml") for path in ROOT.glob(f"examples/**/*.{kind}"))
ClickException = typer.BadParameter.__mro__[2]
"""What a parser raises; Typer's vendored Click is not to be imported."""
OWN_START = {"--list", "--resume", "--file", "--demos-file", "own"}
"""Lines with one of these have no settings to resolve here: they list, go on, or begin with a file of the reader's."""
STARTS = {"reinflow-r": "reflow", "reinflow-s": "shortcut", "dppo": "dp", "gaussian": "gaussian"}
"""What the policy was trained by that a documented line fine-tunes, by the line's ``--method`` (else ``dmpo``)."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose_of(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def lines_of_a_page(page: Path) -> Iterator[str]:
    """The lines of code blocks that start with ``omp`` (after a prompt, too), and the code spans that do."""
    for block in re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(\$ )?omp ", line):
                yield line.removeprefix("$ ")
    yield from (" ".join(span.split()) for span in re.findall(r"`(omp [^`]*?)`", prose_of(page)))


def lines_of_a_comment(text: str) -> Iterator[str]:
    """Lines of scripts, docstrings and comments that are an ``omp`` line and nothing else."""
    return iter(re.findall(r"^(?:#\s{2,}|\s*)(omp [a-z-]+(?: .*)?)$", text, flags=re.MULTILINE))


def documented() -> list[tuple[str, str]]:
    """Every documented line once, with the place that has it first."""
    found: dict[str, str] = {}
    for path in PAGES:
        if path.name == "CHANGELOG.md":
            continue  # it says what lines were once
        for line in lines_of_a_page(path):
            found.setdefault(line, named(path))
    for path in COMMENTED:
        for line in lines_of_a_comment(path.read_text()):
            if "$" not in line:  # a variable of the script's
                found.setdefault(line, named(path))
    for command in COMMANDS:
        for line in re.findall(r"Example: (omp .*)", load(command).__doc__ or ""):
            for part in re.split(r", (?:then|or) (?=omp )", line):
                found.setdefault(part.split(", or ")[0], f"omp {command} --help")
    return [(place, line) for line, place in found.items()]


def commands() -> typer.main.TyperGroup:
    """The whole command line."""
    return typer.main.get_command(make_app(COMMANDS))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def parser() -> typer.main.TyperGroup:
    """The whole command line without a plugin."""
    return commands()


RESOLVED = ("prepare", "pretrain", "finetune", "eval")
"""Commands whose lines come to settings before their inputs are there (``lines.resolve``)."""
GLOBAL_WITH_VALUE = ("--plugin", "--seed", "--device", "--out")


def parsed(parser: typer.main.TyperGroup, words: list[str]) -> tuple[str, list[str]]:
    """The command of a line and its words, global options last; fails where the command's parser does."""
    place = 0
    while words[place].startswith("-"):  # global options before the command's name
        place += 2 if words[place] in GLOBAL_WITH_VALUE else 1
    name, own = words[place], words[place + 1 :] + words[:place]
    assert name in parser.commands, f"no command {name}"
    with parser.commands[name].make_context(name, list(own)):
        return name, own


def start_of(words: list[str]) -> tuple[str, str]:
    """Suite and pre-training method of the policy that a documented ``omp finetune`` may begin with."""
    said = {name.removesuffix("-can-paper") for name in words} | set(words)
    return "toy", next((start for tuner, start in STARTS.items() if any(w.startswith(tuner) for w in said)), "dmpo")


Check = Callable[[str], None]


@pytest.fixture
def check(parser: typer.main.TyperGroup, omp: Omp, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Fails for a line that omp would refuse: it is parsed, then its settings are resolved, or all of it is run dry."""
    monkeypatch.chdir(workshop)

    def taken(line: str) -> None:
        words = shlex.split(line.split(" > ")[0], comments=True)[1:]
        missing = [
            word for word in words if word.startswith("examples/") and not (ROOT / word.partition(":")[0]).exists()
        ]
        assert not missing, f"{missing} is not there"
        if words[-1] == "--help" or (len(words) == 1 and not words[0].startswith("-")):
            assert {*words, "--help"} <= {*COMMANDS, "--help"}  # a command's name, or its help
            return
        words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
        plugins = [Path(value) for name, value in itertools.pairwise(words) if name == "--plugin"]
        for plugin in plugins:
            load_plugin(plugin)
        command, own = parsed(commands() if plugins else parser, words)  # a plugin's source brings options along
        own = [str(workshop / "run") if re.match(r"runs/|RUN", word) else word for word in own]
        if OWN_START & set(own):
            return
        if command in RESOLVED:
            lines.resolve(command, own, start_of(own) if command == "finetune" else None)
            return
        if command in ("export", "deploy", "serve") and str(workshop / "run") not in own:
            own.append(str(workshop / "run"))
        if "--ros" in own:  # the policy of the workshop did not learn from bags
            monkeypatch.setattr(core, "topics_of_policy", lambda decider: None)
        ran = omp(command, *own, *([] if command == "manifest" else ["--dry-run"]))
        assert ran.code == 0, ran.err

    return taken


@pytest.mark.parametrize(("place", "line"), documented())
def test_every_omp_line_of_the_documents_is_one_that_omp_takes(place: str, line: str, check: Check) -> None:
    check(line)


@pytest.mark.parametrize(
    "line",
    [
        "omp evaluate runs/pretrain/RUN",
        "omp eval runs/pretrain/RUN --epsiodes 5",
        "omp eval --episodes 0",
        "omp pretrain --set train.stepz=1",
        "omp pretrain --derivative exact",
        "omp prepare metaworld --task assmebly --set suite.clouds.points=1",
        "omp finetune runs/pretrain/RUN --method sac",
        "omp bench-latency --preset lihgt",
        "omp sweep examples/sweeps/none.toml",
        "omp prepare robomimic --task lift --source scripted --set record.cameras=[agentview",
    ],
)
def test_a_line_that_omp_refuses_is_found(line: str, check: Check) -> None:
    with pytest.raises((AssertionError, OmpError, ClickException)):
        check(line)


def test_the_table_of_exit_codes_has_all_of_them() -> None:
    def codes(kind: type[OmpError]) -> set[int]:
        return {kind.exit_code}.union(*map(codes, kind.__subclasses__()))

    table = re.findall(r"^\| (\d+) \|", (ROOT / "omp_cli" / "commands" / "README.md").read_text(), flags=re.MULTILINE)
    assert sorted(map(int, table)) == sorted({0, *codes(OmpError)})


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as the forges make them."""
    prose = prose_of(page)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        n = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found)
        found.add(f"{slug}-{n}" if n else slug)
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_pictures_and_anchors_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose_of(page)):
        if target.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        to = (page.parent / name).resolve() if name else page
        assert to.is_relative_to(ROOT), f"{target} leads out of the repository"
        assert to.exists(), f"{target} is not there"
        assert not anchor or anchor in slugs(to), f"{target}: no heading of that name; there are {sorted(slugs(to))}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_and_modules_that_a_page_names_are_there(page: Path) -> None:
    """Code spans that look like a path of the repository or like a module of ``omp_cli``."""
    for span in re.findall(
        r"`([^`\s]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    ):
        if re.match(r"(omp_cli|examples|tests)/[\w./-]*$", span):
            assert (ROOT / span).exists(), f"{span} is not there"
        elif re.fullmatch(r"omp_cli(\.\w+)+", span):
            module, _, attribute = span.rpartition(".")
            try:
                importlib.import_module(span)
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(module), attribute), f"{span} is not there"


def snippets() -> list[tuple[str, str]]:
    blocks = re.compile(r"^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
    return [(named(page), code) for page in PAGES for code in blocks.findall(page.read_text())]


@pytest.mark.parametrize(("page", "code"), snippets())
def test_python_snippets_run(page: str, code: str, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, with the workshop's run and data set in the place of those named."""
    monkeypatch.chdir(workshop)
    for printed, there in (("runs/pretrain/RUN", "run"), ("data/toy/reach-p128-d20-s0", "toy")):
        code = code.replace(printed, str(workshop / there))
    exec(compile(code, page, "exec"), {"__name__": page})


def test_the_readme_is_read_in_one_sitting_and_every_room_has_its_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 170
    rooms = ("", "commands", *(f"core/{room}" for room in ROOMS))
    for room in rooms:
        assert (ROOT / "omp_cli" / room / "README.md").is_file(), f"omp_cli/{room} has no page"
    for command in COMMANDS:
        assert f"`omp {command}" in readme, f"the table of commands has no omp {command}"


def test_the_workflow_is_one_that_runs_what_it_says() -> None:
    """Its shape is what GitHub reads; it asks for the torch and for versions of Python that the package takes."""
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "examples" / "ci" / "github-workflow.yml").read_text()
    job = yaml.safe_load(text)["jobs"]["policy"]
    assert {"runs-on", "strategy", "steps"} <= job.keys()
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {entry.rpartition(" ")[2] for entry in project["classifiers"] if entry.startswith("Programming Language")}
    assert set(job["strategy"]["matrix"]["python"]) <= named
    torch = next(x for x in project["dependencies"] if x.startswith("torch"))
    for page in (text, (ROOT / "README.md").read_text()):
        assert f'"{torch}"' in page, "the torch that is installed first is the one the package asks for"


def test_the_dockerfile_copies_what_the_package_is_built_from() -> None:
    """All that pyproject.toml builds a wheel from, and nothing that is not there."""
    text = (ROOT / "examples" / "Dockerfile").read_text()
    copied = {word for words in re.findall(r"^COPY (.*) \S+$", text, flags=re.MULTILINE) for word in words.split()}
    assert all((ROOT / word).exists() for word in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    needed |= {"pyproject.toml", *project["project"]["license-files"]}
    assert not [path for path in needed if not any(Path(path).is_relative_to(place) for place in copied)]
    torch = next(x for x in project["project"]["dependencies"] if x.startswith("torch"))
    assert f'"{torch}"' in text, "the torch that is installed first is the one the package asks for"
