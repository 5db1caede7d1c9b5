"""Runs what the pages quote: `callgate explain` and `callgate check`, with the page's own configuration.

A quoted line must be printed, in that order and without another between; a line `…` stands for any lines, `…` in a line for
any text, and times are not compared.
"""

import base64
import hashlib
import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.MULTILINE)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# RFC 8037, appendix A.1: the key of a token that a page speaks of; its public half is in `jwks`.
SEED = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
CLAIMS = {"anna.jwt": {"sub": "anna", "tenant": "red", "groups": ["staff", "reader", "admin"]}}
PASSWORD = "correct horse"


def quoted(callgate, text, configurations, make_up):
    """Faults of a page with these configurations: (line, what). `make_up(callgate, folder, configuration)` writes the
    files that a configuration names."""
    for block in CONSOLE.finditer(text):
        line = text[: block.start()].count("\n") + 2
        for command, output in commands(block.group(1)):
            if not command.startswith(("callgate explain ", "callgate check ")) or not output:
                continue
            words = shlex.split(command.replace("\\\n", " "))
            own = [config for config in configurations if text.index(config) < block.start()]
            # What is wrong with a configuration or a users file that the page does not show.
            if words[1] == "check" and (not own or any("users.json: " in told for told in output)):
                continue
            printed = run(callgate, words, own[-1] if own else None, make_up)
            missing = first_missing(output, printed)
            if missing:
                yield line, f"`{' '.join(words[:2])}` does not print `{missing}`, but:\n" + "\n".join(printed)


def commands(block):
    found = list(COMMAND.finditer(block))
    ends = [match.start() for match in found[1:]] + [len(block)]
    return [(match.group(1), block[match.end() : end].splitlines()) for match, end in zip(found, ends)]


def run(binary, words, configuration, make_up):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        environment = {**os.environ, "PW": PASSWORD, "BOB": "bob"}
        if "gate/callgate.toml" in words:
            shown = call([binary, "init", "gate"], folder, environment)
            environment["BOB"] = next(line.split()[1] for line in shown if line.split()[:1] == ["bob"])
        elif configuration is None:
            call([binary, "init", "--demo", "."], folder, environment)
        else:
            if "service_tokens" in configuration:
                configuration = with_token(binary, configuration, folder, environment)
            (folder / "callgate.toml").write_text(configuration)
            make_up(binary, folder, configuration)
            placed = {} if "default_account" in configuration else {"account": "APP"}
            users = {name: {"password": PASSWORD, **placed} for name in ("dev-7.a", "wanda", "olga")}
            (folder / "users.json").write_text(json.dumps(users))
            (folder / "users.json").chmod(0o600)
            for name, claims in CLAIMS.items():
                (folder / name).write_text(token(configuration, claims))
        return call([binary, *words[1:]], folder, environment)


def call(command, folder, environment):
    result = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, check=False)
    return result.stdout.splitlines()


def with_token(binary, configuration, folder, environment):
    """The page's key is one that nobody has: another takes its place, and signs."""
    public = call([binary, "key", "user", "--out", "service.nk"], folder, environment)[0]
    user = re.search(r'^user = "(.*)"', configuration, re.MULTILINE).group(1)
    audience = re.search(r'^audience = "(.*)"', configuration, re.MULTILINE).group(1)
    mint = [binary, "token", "--seed", "@service.nk", "--user", user, "--ttl", "15m", "--audience", audience]
    environment["TOKEN"] = call(mint, folder, environment)[0]
    return re.sub(r'"U[A-Z2-7]{55}"', f'"{public}"', configuration)


def first_missing(output, printed):
    """The first quoted line that is not printed where it should be."""
    patterns = [None if line == "…" else pattern(line) for line in output]
    place, anchored = 0, True
    for index, wanted in enumerate(patterns):
        if wanted is None:
            anchored = False
            continue
        here = range(place, place + 1 if anchored else len(printed))
        found = next((at for at in here if at < len(printed) and wanted.fullmatch(printed[at])), None)
        if found is None:
            return output[index]
        place, anchored = found + 1, True
    return "" if not anchored or place == len(printed) else "… (there is more)"


def pattern(line):
    parts = [re.escape(part) for part in TIME.sub("…", line).split("…")]
    return re.compile(".*".join(parts))


# --- a token, signed as RFC 8032 tells -----------------------------------------------------------


def token(configuration, claims):
    def value(key):
        found = re.search(rf'^{key} = \[?"(.*?)"', configuration, re.MULTILINE)
        return found.group(1) if found else ""

    now = int(time.time())
    claims = {"iss": value("issuer"), "aud": value("audience"), "iat": now, "exp": now + 900, **claims}
    parts = [base64url(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "EdDSA"}, claims)]
    return ".".join([*parts, base64url(sign(".".join(parts).encode()))])


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


P, Q = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202


def add(left, right):
    a, b = (left[1] - left[0]) * (right[1] - right[0]) % P, (left[1] + left[0]) * (right[1] + right[0]) % P
    c, d = 2 * left[3] * right[3] * D % P, 2 * left[2] * right[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiplied(factor):
    """The base point so many times, compressed."""
    result, point = (0, 1, 1, 0), (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)
    while factor:
        if factor & 1:
            result = add(result, point)
        point, factor = add(point, point), factor >> 1
    inverse = pow(result[2], P - 2, P)
    x, y = result[0] * inverse % P, result[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def sign(message):
    digest = hashlib.sha512(base64.urlsafe_b64decode(SEED + "=")).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
    number = int.from_bytes(hashlib.sha512(digest[32:] + message).digest(), "little") % Q
    commitment = multiplied(number)
    challenge = int.from_bytes(hashlib.sha512(commitment + multiplied(scalar) + message).digest(), "little") % Q
    return commitment + ((number + challenge * scalar) % Q).to_bytes(32, "little")
