//! Texts that nats-server accepts or not, and those that `import` accepts.

use std::{fs, path::Path, process::Command};

use callgate_testkit::tools;

use crate::support::callgate_in;

/// Users that nats-server and `import` accept, around a value in question.
fn around(text: &str) -> String {
    format!("{text}\nauthorization {{ users: [ {{ user: a, password: b }} ] }}\n")
}

/// Whether nats-server can parse the text. It also refuses keys that it does not know, which come later.
fn server_reads(folder: &Path, text: &str) -> bool {
    let file = folder.join("server.conf");
    fs::write(&file, text).unwrap();
    let binary = tools::installed("nats-server/default");
    let ran = Command::new(binary).args(["-t", "-c"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    ran.status.success() || said.contains("unknown field")
}

fn import_reads(folder: &Path, text: &str) -> bool {
    fs::write(folder.join("import.conf"), text).unwrap();
    callgate_in(folder, &["import", "import.conf", "--dry-run"]).code < 2
}

#[test]
fn ordinary_texts_are_accepted_by_both() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("part.conf"), "w: 1\n").unwrap();
    for text in [
        "v: 1",
        "v = 1",
        "v 1",
        "v: 1;",
        "v: 1,",
        "v: 1 # c",
        "v: 1 // c",
        "# c",
        "// c",
        "v: -5",
        "v: 1k",
        "v: 10mb",
        "v: 3GiB",
        "v: 1.5",
        "v: -1.5",
        "v: true",
        "v: off",
        "v: yes",
        "v: 2016-05-04T18:53:41Z",
        "v: 127.0.0.1:4222",
        "v: 10ms",
        "v: 5s",
        "v: abc",
        "v: 'a b'",
        "v: \"a\\tb\\x41\"",
        "v: \"\"",
        "v: ''",
        "v: a\\tb",
        "v: (\nx\ny\n)\n",
        "v { a: 1 }",
        "v { a: 1, b: 2 }",
        "v {\n  a: 1\n  b: 2;\n}",
        "v: [1, 2, a]",
        "v: [\n a\n b\n]",
        "v: [a, b,]",
        "v: []",
        "v {}",
        "'quoted key': 1",
        "\"quoted key\" = 1",
        "v: 1\nw: $v",
        "v: $2a$11$abcdefghij",
        "v: a:b=c",
        "v: http://x/y",
        "include part.conf",
        "include 'part.conf'",
        "include \"./part.conf\";",
        "v { include part.conf }",
        "v: 1\r\nw: 2",
        "v\n{\n a: 1 }",
        "v: { a: { b: [ { c: d } ] } }",
        "v: über",
        "é: 1",
        "v { a =\n 1 }",
        "v: a#b",
    ] {
        let text = around(text);
        assert!(server_reads(folder.path(), &text), "nats-server: {text}");
        assert!(import_reads(folder.path(), &text), "import: {text}");
    }
}

#[test]
fn broken_texts_are_refused_by_both() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        "v: [1",
        "v {",
        "v: 'a",
        "v: \"a",
        "v: \"\\q\"",
        "v: (a",
        "v: .5",
        "v: 5.",
        "v: -",
        "v:",
        "v: [a b]",
        "v: [,]",
        "v: 2016-05-04",
        "v: 99999999999999999999",
        "v: $absent_variable_",
        "include absent.conf",
        "=1",
        "v { a: 1 b: 2 }",
        "v: a b",
        "v { = 1 }",
    ] {
        let text = around(text);
        assert!(!import_reads(folder.path(), &text), "import: {text}");
        assert!(!server_reads(folder.path(), &text), "nats-server: {text}");
    }
}

/// Random texts: what `import` accepts, nats-server accepts.
#[test]
fn nothing_is_accepted_that_nats_server_refuses() {
    const PIECES: [&str; 40] = [
        "a",
        "v",
        ":",
        "=",
        " ",
        " ",
        "\n",
        "\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        ";",
        "#",
        "//",
        "/",
        "'",
        "\"",
        "\\",
        "(",
        ")",
        "$v",
        "$",
        "1",
        "10",
        "k",
        "mb",
        "-",
        ".",
        "true",
        "\t",
        "\r\n",
        "include",
        "2016-05-04T18:53:41Z",
        "\\x41",
        "é",
        "1.2.3",
        "{ a: 1 }",
        "[b, c]",
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut accepted = 0;
    for _ in 0..120 {
        let length = 1 + random(7);
        let value: String = (0..length).map(|_| PIECES[random(PIECES.len())]).collect();
        let text = around(&format!("v: x\nw: {value}"));
        if import_reads(folder.path(), &text) {
            accepted += 1;
            assert!(server_reads(folder.path(), &text), "{text:?}");
        }
    }
    assert!(accepted >= 10, "only {accepted} texts were accepted");
}
