#!/usr/bin/env python3
"""Compares the public items of the library with a frozen list, so that the API does not change by accident.

    public_api.py check      exits with 1 and shows the difference, if there is one
    public_api.py bless      writes the list: crates/callgate/public-api.txt
    public_api.py semver     exits with 1 if an item of the last release (tag vX.Y.Z) is gone, and the version in Cargo.toml
                             does not say so

The items come from rustdoc's JSON, which the stable compiler prints only with RUSTC_BOOTSTRAP. A removed or changed line is a
breaking change, a new line an addition. Until CHANGELOG.md has a released version, differences are shown and accepted.
"""

import difflib
import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import tools

CRATES = {"callgate": ["--features", "nats"]}


def main(arguments):
    if arguments not in (["check"], ["bless"], ["semver"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if arguments == ["semver"]:
            return semver()
        differences = [crate for crate, flags in CRATES.items() if compare(crate, flags, arguments == ["bless"])]
    except tools.Failed as failure:
        print(f"public api: {failure}", file=sys.stderr)
        return 1
    released = re.search(r"^## \[\d", (tools.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    accepted = ", which is accepted before the first release" if differences and not released else ""
    print(f"public api: {len(CRATES)} crate, {len(differences)} differ{accepted}")
    return 1 if differences and released else 0


def compare(crate, flags, bless):
    """Whether the items differ from the frozen ones."""
    items = public_items(crate, flags)
    frozen = tools.ROOT / "crates" / crate / "public-api.txt"
    old = frozen.read_text().splitlines() if frozen.exists() else []
    if bless:
        frozen.write_text("".join(f"{item}\n" for item in items))
        return False
    difference = list(difflib.unified_diff(old, items, f"{crate}: frozen", f"{crate}: current", lineterm="", n=0))
    if difference:
        print("\n".join(difference), file=sys.stderr)
        print("public api: if this is intended, run scripts/public_api.py bless and say so in CHANGELOG.md", file=sys.stderr)
    return bool(difference)


def semver():
    """Compares the frozen lists of the last release with those of now."""
    if doctest.testmod().failed:
        return 1
    described = git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    if described.returncode != 0:
        print("public api: there is no release yet, so every change is compatible with it")
        return 0
    tag = described.stdout.strip()
    version = re.search(r'^version = "(.*)"', (tools.ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    faults = []
    for crate in CRATES:
        file = f"crates/{crate}/public-api.txt"
        released = git("show", f"{tag}:{file}").stdout.splitlines()
        now = (tools.ROOT / file).read_text().splitlines()
        faults += [f"{crate}: {item}" for item in gone(released, now)]
    allowed = may_break(tag.removeprefix("v"), version)
    for fault in faults:
        print(f"public api: {'changed' if allowed else 'must not change'} since {tag}: {fault}", file=sys.stderr)
    print(f"public api: version {version}, {len(faults)} items of {tag} are gone or changed")
    return 1 if faults and not allowed else 0


def gone(released, now):
    """What a user of the release may miss. A new item is not a breaking change.

    >>> gone(["fn a()", "fn b(x: u8)"], ["fn a()", "fn b(x: u16)", "fn c()"])
    ['fn b(x: u8)']
    """
    return sorted(set(released) - set(now))


def may_break(released, version):
    """Whether Cargo treats `version` as incompatible with `released`: another major version, or minor before 1.0.

    >>> may_break("0.1.0", "0.1.1"), may_break("0.1.9", "0.2.0"), may_break("0.9.0", "1.0.0")
    (False, True, True)
    >>> may_break("1.2.3", "1.3.0"), may_break("1.2.3", "2.0.0"), may_break("1.2.3", "1.2.3")
    (False, True, False)
    """
    old, new = ([int(part) for part in re.split(r"[-+]", text)[0].split(".")] for text in (released, version))
    significant = 1 if old[0] > 0 or new[0] > 0 else 2
    return new[:significant] > old[:significant]


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=tools.ROOT, capture_output=True, text=True)


def public_items(crate, flags):
    target = Path(os.environ.get("CARGO_TARGET_DIR") or tools.ROOT / "target").resolve()
    # Only rustdoc gets the variable: build scripts watch it, and Cargo would build every dependency once more.
    rustdoc = target / "rustdoc-json"
    target.mkdir(parents=True, exist_ok=True)
    rustdoc.write_text('#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n')
    rustdoc.chmod(0o755)
    tools.run(["cargo", "rustdoc", "--quiet", "--package", crate, "--lib", *flags, "--", "-Z", "unstable-options",
               "--output-format", "json"], f"rustdoc prints no JSON for {crate}", cwd=tools.ROOT,
              surroundings={"RUSTDOC": str(rustdoc)})
    document = json.loads((target / "doc" / f"{crate.replace('-', '_')}.json").read_text())
    return sorted(set(Items(document).of_module(str(document["root"]), crate.replace("-", "_"))))


class Items:
    """Lines for the items that a user of the crate can name."""

    def __init__(self, document):
        self.index = document["index"]

    def of_module(self, key, path):
        for child in self.index[key]["inner"]["module"]["items"]:
            yield from self.of_item(str(child), path)

    def of_item(self, key, path, name=None):
        item = self.index.get(key)
        if item is None or (item["visibility"] != "public" and item["visibility"] != "default"):
            return
        [(kind, inner)] = item["inner"].items()
        here = f"{path}::{name or item['name']}"
        if kind == "use":
            yield from self.of_use(inner, path)
        elif kind == "module":
            yield f"mod {here}"
            yield from self.of_module(key, here)
        elif kind in ("struct", "enum", "union"):
            yield f"{kind} {here}{generics(inner['generics'])}"
            yield from self.of_type(kind, inner, here)
        elif kind == "trait":
            yield f"trait {here}{generics(inner['generics'])}"
            for child in inner["items"]:
                yield from self.of_item(str(child), here)
        elif kind == "function":
            yield f"{function(here, inner)}"
        elif kind in ("constant", "assoc_const"):
            yield f"const {here}: {shown(inner['type'])}"
        elif kind in ("type_alias", "assoc_type"):
            yield f"type {here}" + (f" = {shown(inner['type'])}" if inner.get("type") else "")
        elif kind in ("macro", "proc_macro"):
            yield f"macro {here}"
        elif kind == "struct_field":
            yield f"field {here}: {shown(inner)}"
        elif kind == "variant":
            yield f"variant {here}"
            yield from self.of_variant(inner, here)

    def of_use(self, inner, path):
        aim = str(inner["id"]) if inner.get("id") is not None else None
        if aim not in self.index:
            yield f"use {path}::{inner['name']} = {inner['source']}"
        elif inner["is_glob"]:
            yield from self.of_module(aim, path)
        else:
            yield from self.of_item(aim, path, inner["name"])

    def of_type(self, kind, inner, here):
        if kind == "enum":
            fields = inner["variants"]
        elif kind == "union":
            fields = inner["fields"]
        else:
            fields = parts(inner["kind"])
        for child in fields:
            yield from self.of_item(str(child), here)
        traits = []
        for block in inner["impls"]:
            block = self.index.get(str(block))
            if block is None:
                continue
            block = block["inner"]["impl"]
            if block["trait"] is None:
                for child in block["items"]:
                    yield from self.of_item(str(child), here)
            elif not block["is_synthetic"] and block["blanket_impl"] is None:
                traits.append(block["trait"]["path"].split("::")[-1] + arguments(block["trait"].get("args")))
        if traits:
            yield f"impl {', '.join(sorted(set(traits)))} for {here}"

    def of_variant(self, inner, here):
        for child in parts(inner["kind"]):
            yield from self.of_item(str(child), here)


def parts(kind):
    """The fields of a struct or variant."""
    if not isinstance(kind, dict):
        return []
    [(form, inner)] = kind.items()
    fields = inner if form == "tuple" else inner["fields"]
    return [field for field in fields if field is not None]


def function(here, inner):
    signature = inner["sig"]
    words = [word for word in ("const", "async", "unsafe") if inner["header"][f"is_{word}"]]
    inputs = ", ".join(f"{name}: {shown(type_)}" for name, type_ in signature["inputs"])
    output = f" -> {shown(signature['output'])}" if signature["output"] else ""
    return " ".join([*words, f"fn {here}{generics(inner['generics'])}({inputs}){output}"])


def generics(inner):
    names = [parameter["name"] for parameter in inner["params"]
             if not parameter["kind"].get("type", {}).get("is_synthetic")]
    return f"<{', '.join(names)}>" if names else ""


def shown(type_):
    """A type, roughly as in Rust: enough to see that it changed."""
    if type_ is None:
        return "_"
    if type_ == "infer":
        return "_"
    [(kind, inner)] = type_.items()
    if kind == "resolved_path":
        return inner["path"].split("::")[-1] + arguments(inner.get("args"))
    if kind in ("generic", "primitive"):
        return inner
    if kind == "borrowed_ref":
        lifetime = f"{inner['lifetime']} " if inner.get("lifetime") else ""
        return f"&{lifetime}{'mut ' if inner['is_mutable'] else ''}{shown(inner['type'])}"
    if kind == "tuple":
        return f"({', '.join(map(shown, inner))})"
    if kind == "slice":
        return f"[{shown(inner)}]"
    if kind == "array":
        return f"[{shown(inner['type'])}; {inner['len']}]"
    if kind == "impl_trait":
        return f"impl {' + '.join(map(bound, inner))}"
    if kind == "dyn_trait":
        return f"dyn {' + '.join(one['trait']['path'].split('::')[-1] + arguments(one['trait'].get('args')) for one in inner['traits'])}"
    if kind == "qualified_path":
        return f"{shown(inner['self_type'])}::{inner['name']}"
    return kind


def bound(one):
    if "trait_bound" in one:
        trait = one["trait_bound"]["trait"]
        return trait["path"].split("::")[-1] + arguments(trait.get("args"))
    return one.get("outlives") or "_"


def arguments(args):
    if not args:
        return ""
    if "angle_bracketed" in args:
        inner = args["angle_bracketed"]
        names = [one.get("lifetime") or shown(one.get("type")) for one in inner["args"] if isinstance(one, dict)]
        names += [f"{one['name']} = {shown(one['binding']['equality']['type'])}" for one in inner["constraints"]
                  if "equality" in one.get("binding", {}) and "type" in one["binding"]["equality"]]
        return f"<{', '.join(names)}>" if names else ""
    if "parenthesized" in args:
        inner = args["parenthesized"]
        output = f" -> {shown(inner['output'])}" if inner.get("output") else ""
        return f"({', '.join(map(shown, inner['inputs']))}){output}"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
