#!/usr/bin/env python3
"""Keeps the documentation true. Exit code 1 and a line per fault.

    check_docs.py [CALLGATE]

- every relative link leads to a file, and to a heading where it names one;
- every whole configuration (a ```toml block that begins with `# callgate.toml`) passes `callgate check`,
  with files made up for what it names (only with CALLGATE, the binary);
- what a page says that `callgate explain` and `callgate check` print of its configuration is printed (likewise);
- every reason has a row in docs/troubleshooting.md, every metric one in docs/operations.md, every command a section
  in docs/commands.md, and none of them has one too many.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import doc_outputs

ROOT = Path(__file__).resolve().parent.parent
CRATES = ROOT / "crates"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TOML = re.compile(r"^```toml\n(# callgate\.toml\n.*?)^```", re.MULTILINE | re.DOTALL)
# The public key of RFC 8037, appendix A.2.
JWKS = '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
FILE_KEY = re.compile(r'(?:file|jwks_file|ca|creds|nkey)\s*=\s*"([^"]+)"|\{\s*file\s*=\s*"([^"]+)"\s*\}')


def pages():
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def main(arguments):
    faults = [*broken_links(), *reasons(), *metrics(), *commands()]
    arguments = [str(Path(argument).resolve()) for argument in arguments]
    configurations = [(page, text) for page in pages() for text in TOML.findall(page.read_text())]
    if arguments:
        faults += [fault for page, text in configurations for fault in check(arguments[0], page, text)]
        faults += [fault for page in pages() for fault in outputs(arguments[0], page)]
    for fault in faults:
        print(f"check_docs: {fault}", file=sys.stderr)
    checked = f"{len(configurations)} configurations" if arguments else "no configurations (no binary was given)"
    print(f"check_docs: {len(pages())} pages, {checked}, {len(faults)} faults")
    return 1 if faults else 0


# --- links ---------------------------------------------------------------------------------------


def broken_links():
    for page in pages():
        for target in LINK.findall(FENCED.sub("", page.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists():
                yield f"{page.relative_to(ROOT)}: the link `{target}` leads nowhere"
            elif anchor and anchor not in anchors(file):
                yield f"{page.relative_to(ROOT)}: there is no heading for `{target}`"


def anchors(file):
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", file.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


# --- what the code has ---------------------------------------------------------------------------


def compare(what, code, documented, page):
    if not code:
        yield f"no {what} were found in the code: correct {Path(__file__).name}"
    yield from (f"{page}: the {what[:-1]} `{name}` is missing" for name in sorted(code - documented))
    yield from (f"{page}: there is no {what[:-1]} `{name}`" for name in sorted(documented - code))


def rows(page):
    return set(re.findall(r"^\| `([a-z_]+)`?", page, re.MULTILINE))


def reasons():
    source = (CRATES / "callgate/src/record.rs").read_text()
    function = source.split("fn as_str(self)", 1)[1].split("fn outcome", 1)[0]
    code = set(re.findall(r'=> "([a-z_]+)"', function))
    page = (ROOT / "docs/troubleshooting.md").read_text().split("\n## Reasons\n", 1)[-1]
    documented = rows(page) | ({"admitted"} if "`admitted`" in page else set())
    return compare("reasons", code, documented, "docs/troubleshooting.md")


def metrics():
    source = (CRATES / "callgate-server/src/telemetry/metrics.rs").read_text()
    registered = re.findall(r'register(_with_unit)?\(\s*"([a-z_]+)"', source)
    page = (ROOT / "docs/operations.md").read_text()
    documented = set(re.findall(r"^\| `callgate_([a-z_]+)", page, re.MULTILINE))
    # The exposition adds what kind of metric it is.
    exposed = {name: name + ("_seconds" if unit else "") for unit, name in registered}
    endings = ["", "_total", "_info"]
    found = {next((shown + end for end in endings if shown + end in documented), shown)
             for shown in exposed.values()}
    return compare("metrics", found, documented, "docs/operations.md")


def commands():
    source = (CRATES / "callgate-server/src/cli.rs").read_text()
    names = re.findall(r"^    ([A-Z]\w+)\(", source.split("enum Command {", 1)[1].split("\n}", 1)[0], re.MULTILINE)
    code = {re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower() for name in names}
    documented = set(re.findall(r"^## ([a-z-]+)$", (ROOT / "docs/commands.md").read_text(), re.MULTILINE))
    return compare("commands", code, documented, "docs/commands.md")


# --- configurations ------------------------------------------------------------------------------


def check(callgate, page, text):
    line = page.read_text()[: page.read_text().index(text)].count("\n") + 1
    where = f"{page.relative_to(ROOT)}:{line}"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "callgate.toml").write_text(text)
        make_up_all(callgate, folder, text)
        command = [callgate, "check", "--config", str(folder / "callgate.toml")]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0:
            yield f"{where}: this configuration does not pass:\n{result.stdout.rstrip()}"


def outputs(callgate, page):
    text = page.read_text()
    for line, what in doc_outputs.quoted(callgate, text, TOML.findall(text), make_up_all):
        yield f"{page.relative_to(ROOT)}:{line}: {what}"


def make_up_all(callgate, folder, text):
    for name in sorted({first or second for first, second in FILE_KEY.findall(text)}):
        make_up(callgate, folder / name, text)


def make_up(callgate, path, text):
    """A file of the kind that its name and its place ask for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key = re.search(rf'(\w+)\s*=\s*\[?\s*\{{[^}}]*"{re.escape(path.name)}"', text)
    kind = {"seed": "account", "xkeys": "curve", "nkey": "user"}.get(key.group(1) if key else "")
    if path.suffix in (".nk", ".xk"):
        kind = kind or ("curve" if path.suffix == ".xk" or "xkey" in path.name else "account")
        subprocess.run([callgate, "key", kind, "--out", str(path)], check=True, stdout=subprocess.DEVNULL)
    elif "jwks" in path.name:
        path.write_text(JWKS)
    elif path.suffix == ".json":
        path.write_text('{"somebody": {"password": "secret", "account": "APP"}}')
    else:
        path.write_text("placeholder\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
