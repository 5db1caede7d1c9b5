//! Inputs that `callgate test`, `diff` and `replay` cannot use: exit code 2, nothing on standard output, and what to do.

use std::fs;

use serde_json::json;

use super::Folder;
use crate::support::has;

const ROLE: &str = "[roles.r]\npublish = [\"a\"]\n";

fn folder() -> Folder {
    let folder = Folder::new(&json!({ "bob": { "pass": "x", "roles": ["r"] } }), ROLE);
    folder.config("next.toml", ROLE);
    folder.write("empty.jsonl", "");
    folder.write("garbage.jsonl", "not JSON\n");
    folder.write("record.jsonl", "{\"v\":1,\"type\":\"start\"}\n");
    fs::create_dir(folder.path("folder.toml")).unwrap();
    fs::write(folder.path("zipped.jsonl"), [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).unwrap();
    folder
}

/// Each command fails, and says this.
fn are_unusable(folder: &Folder, table: &[(&str, &str)]) {
    for (arguments, expected) in table {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let ran = folder.run(&arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {ran:?}");
        has(&ran.stderr, &["error: ", expected]);
    }
}

#[test]
fn unusable_test_files_are_named() {
    let folder = folder();
    let one = "tests:\n- name: a\n  identity: { user: bob }\n  may: [\"pub:a\"]\n";
    folder.write("two.yaml", &format!("{one}---\n{one}"));
    folder.write("tests.yaml", one);
    folder.write("tests.txt", one);
    folder.write("empty.json", "");
    folder.write("empty.yaml", "");
    are_unusable(
        &folder,
        &[
            ("test absent.toml -c callgate.toml", "cannot read `absent.toml`: No such file"),
            ("test folder.toml -c callgate.toml", "cannot read `folder.toml`: Is a directory"),
            (
                "test tests.txt -c callgate.toml",
                "`tests.txt` does not end in .toml, .yaml or .json",
            ),
            ("test two.yaml -c callgate.toml", "two.yaml:6:1: more than one YAML document"),
            ("test empty.json -c callgate.toml", "empty.json:1:1: the file ends"),
            ("test empty.yaml -c callgate.toml", "empty.yaml: has no test: add `[[tests]]`"),
            ("test tests.yaml -c absent.toml", "cannot read `absent.toml`"),
            ("test tests.yaml -c callgate.toml --filter b", "no test matches --filter"),
            ("test tests.yaml -c callgate.toml --min-coverage 101", "--min-coverage"),
            ("test -c callgate.toml", "<FILE>"),
        ],
    );
}

#[test]
fn unusable_inputs_of_diff_are_named() {
    let folder = folder();
    let lists = [
        ("unknown.yaml", "- { user: bobb }\n"),
        ("key.yaml", "- { user: bob }\n- { user: bob, rolls: [r] }\n"),
        ("role.jsonl", "{\"user\":\"bob\"}\n\n{\"user\":\"bob\",\"roles\":[\"x\"]}\n"),
        ("broken.jsonl", "{\"user\":\"bob\"\n"),
        ("empty.yaml", ""),
        ("text.json", "\"bob\"\n"),
        ("other.toml", "[[tests]]\nname = \"x\"\n"),
    ];
    lists.iter().for_each(|(name, text)| folder.write(name, text));
    are_unusable(
        &folder,
        &[
            ("diff callgate.toml absent.toml", "cannot read `absent.toml`: No such file"),
            ("diff callgate.toml", "<NEW>"),
            ("diff callgate.toml next.toml --fail-on change", "possible values: gain, loss, any"),
            ("diff callgate.toml next.toml --audit absent.jsonl", "cannot read `absent.jsonl`"),
            ("diff callgate.toml next.toml --audit folder.toml", "Is a directory"),
            (
                "diff callgate.toml next.toml --audit empty.jsonl",
                "no records: the files of --audit",
            ),
            ("diff callgate.toml next.toml --audit garbage.jsonl", "garbage.jsonl:1: not a record"),
            (
                "diff callgate.toml next.toml --audit zipped.jsonl",
                "decompress it first with `gunzip`",
            ),
            ("diff callgate.toml next.toml --identities absent.yaml", "cannot read `absent.yaml`"),
            (
                "diff callgate.toml next.toml --identities unknown.yaml",
                "does not know the user `bobb`",
            ),
            (
                "diff callgate.toml next.toml --identities key.yaml",
                "key.yaml:2:16: identities[1].rolls: unknown key; did you mean `roles`?",
            ),
            (
                "diff callgate.toml next.toml --identities role.jsonl",
                "role.jsonl:3:1: roles[0]: unknown role `x`",
            ),
            ("diff callgate.toml next.toml --identities broken.jsonl", "broken.jsonl:1:"),
            ("diff callgate.toml next.toml --identities empty.yaml", "empty.yaml: has no identity"),
            (
                "diff callgate.toml next.toml --identities empty.jsonl",
                "empty.jsonl: has no identity",
            ),
            ("diff callgate.toml next.toml --identities text.json", "text.json: must be a table"),
            (
                "diff callgate.toml next.toml --identities other.toml",
                "other.toml:1:3: tests: unknown key",
            ),
        ],
    );
    // One empty file among others is what a rotation leaves.
    let ran = folder.run(&[
        "diff",
        "callgate.toml",
        "next.toml",
        "--audit",
        "empty.jsonl",
        "record.jsonl",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn unusable_inputs_of_replay_are_named() {
    let folder = folder();
    let record = fs::read_to_string(folder.path("record.jsonl")).unwrap();
    folder.write("cut.jsonl", record.trim_end());
    are_unusable(
        &folder,
        &[
            ("replay --config next.toml", "<FILE>"),
            ("replay record.jsonl", "--config"),
            ("replay record.jsonl --config absent.toml", "cannot read `absent.toml`"),
            (
                "replay record.jsonl --config next.toml --against absent.toml",
                "cannot read `absent.toml`",
            ),
            ("replay absent.jsonl --config next.toml", "cannot read `absent.jsonl`: No such file"),
            ("replay folder.toml --config next.toml", "cannot read `folder.toml`: Is a directory"),
            ("replay empty.jsonl --config next.toml", "no records: what is read is empty"),
            ("replay zipped.jsonl --config next.toml", "decompress it first with `gunzip`"),
            ("replay cut.jsonl --config next.toml", "the last line is incomplete"),
            ("replay garbage.jsonl --config next.toml", "pass --unverified"),
            (
                "replay garbage.jsonl --config next.toml --unverified",
                "garbage.jsonl:1: not a record of an audit",
            ),
            ("replay record.jsonl --config next.toml --since yesterday", "write a time such as"),
            (
                "replay record.jsonl --config next.toml --since 2099-01-01T00:00:00Z",
                "--since (2099-01-01T00:00:00Z) is in the future",
            ),
            (
                "replay record.jsonl --config next.toml --since 1h --until 2h",
                "must be before --until",
            ),
        ],
    );
    let ran = folder.run(&["replay", "record.jsonl", "--config", "next.toml", "--unverified"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stderr, &["warning: no decision was found, so nothing was compared"]);
}
