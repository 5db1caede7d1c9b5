#!/usr/bin/env python3
"""Checks the Helm chart, and renders the plain manifests from it.

    helm.py check      lint, and compare deploy/kubernetes/, the goldens and copied files with what they come from
    helm.py render     regenerate deploy/kubernetes/, the golden files and copied files

Helm is compiled from its Go module into `.tools/helm/`, which needs Go; without Go, the check fails.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tools

HELM = "helm.sh/helm/v3/cmd/helm@v3.19.0"
CHART = tools.ROOT / "deploy" / "helm" / "callgate"
# Has no default, because no image is published.
IMAGE = ["--set", "image.repository=registry.example.com/callgate"]
# What is rendered, from which values, into which file.
RENDERS = [
    (IMAGE, tools.ROOT / "deploy" / "kubernetes" / "callgate.yaml"),
    (["--values", CHART / "ci" / "everything-values.yaml"], CHART / "ci" / "everything-golden.yaml"),
    ([*IMAGE, "--values", CHART / "ci" / "operator-values.yaml"], CHART / "ci" / "operator-golden.yaml"),
]
HEADER = "# Rendered from deploy/helm/callgate by scripts/helm.py; change it there.\n"
# Files of the chart, and what they are copies of: a chart cannot read what is outside its folder.
OBSERVABILITY = tools.ROOT / "deploy" / "observability"
COPIES = [(CHART / "files" / original.name, original) for original in
          [OBSERVABILITY / "prometheus" / "callgate.rules.yaml", OBSERVABILITY / "grafana" / "callgate.json"]]
# Values that the schema must refuse, each with what helm then names.
REFUSED = [("replicas=0", "replicas"), ("replicass=2", "replicass"), ("secretName=", "secretName"),
           ("image.repository=", "image.repository is empty")]


def main(arguments):
    commands = {"check": check, "render": render}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]](helm())
    except tools.Failed as failure:
        print(f"helm: {failure}", file=sys.stderr)
        return 1


def helm():
    binary = tools.TOOLS / "helm" / "helm"
    if tools.starts(binary, "version"):
        return binary
    go = shutil.which("go")
    if go is None:
        raise tools.Failed("Go is not installed, so helm cannot be compiled: the chart was NOT checked")
    tools.say("helm (this compiles for some minutes)")
    environment = {**os.environ, "GOBIN": str(binary.parent), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["nice", go, "install", "-trimpath", HELM], env=environment, cwd=folder,
                              capture_output=True, text=True)
    if done.returncode != 0:
        raise tools.Failed(f"helm cannot be compiled: {done.stderr.strip()[-2000:]}")
    return binary


def check(binary):
    faults = []
    lint = run(binary, "lint", "--strict", "--kube-version", "1.30.0", *IMAGE, CHART)
    if lint.returncode != 0:
        faults.append(f"helm lint:\n{lint.stdout}{lint.stderr}")
    for values, file in RENDERS:
        text = rendered(binary, values)
        if not file.exists() or file.read_text() != text:
            faults.append(f"{file.relative_to(tools.ROOT)} is not what the chart renders: run scripts/helm.py render")
    for copy, original in COPIES:
        if not copy.exists() or copy.read_bytes() != original.read_bytes():
            faults.append(f"{copy.relative_to(tools.ROOT)} is not {original.name}: run scripts/helm.py render")
    faults.extend(dashboard_faults(binary))
    for setting, named in REFUSED:
        refused = run(binary, "template", "callgate", CHART, "--kube-version", "1.30.0", *IMAGE, "--set", setting)
        if refused.returncode == 0 or named not in refused.stderr:
            faults.append(f"the schema does not refuse `{setting}`")
    for fault in faults:
        print(f"helm: {fault}", file=sys.stderr)
    print(f"helm: lint, {len(RENDERS)} renders, {len(REFUSED)} refused values; {len(faults)} faults")
    return 1 if faults else 0


def dashboard_faults(binary):
    """The ConfigMap holds the dashboard as it is. Not a golden file, which would be another copy."""
    settings = ["--set", "dashboard.enabled=true", "--set", "dashboard.namespace=monitoring"]
    text = rendered(binary, [*IMAGE, *settings])
    dashboard = (OBSERVABILITY / "grafana" / "callgate.json").read_text()
    indented = "".join(f"    {line}\n" for line in dashboard.splitlines())
    expected = ["name: callgate-dashboard", "namespace: monitoring", 'grafana_dashboard: "1"', f"callgate.json: |\n{indented}"]
    return [f"the dashboard's ConfigMap has no `{part[:40]}`" for part in expected if part not in text]


def render(binary):
    for copy, original in COPIES:
        copy.write_bytes(original.read_bytes())
    for values, file in RENDERS:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(rendered(binary, values))
        print(f"helm: wrote {file.relative_to(tools.ROOT)}")
    return 0


def rendered(binary, values):
    # Stated, because helm compiled from its module believes in an old Kubernetes.
    done = run(binary, "template", "callgate", CHART, "--namespace", "nats", "--kube-version", "1.30.0", *values)
    if done.returncode != 0:
        raise tools.Failed(f"the chart does not render: {done.stderr.strip()}")
    return HEADER + done.stdout


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
