use serde_json::json;

use super::*;
use crate::{
    sql::row::UserRow,
    sql_client::{Cell, Column},
};

fn column(name: &str, cell: Cell) -> Column {
    Column { name: name.to_owned(), kind: "KIND".to_owned(), cell: Some(cell) }
}

fn text(name: &str, text: &str) -> Column {
    column(name, Cell::Value(text.into()))
}

fn read(columns: Vec<Column>) -> Result<UserRow, String> {
    UserRow::read(columns, Some("typed"), false)
}

#[test]
fn lists_are_arrays_or_texts() {
    for cell in [
        Cell::Value(json!(["a", "b"])),
        Cell::Value("[\"a\", \"b\"]".into()),
        Cell::Value(" a,b , ".into()),
    ] {
        let row = read(vec![column("roles", cell)]).unwrap();
        assert_eq!(row.outside.roles.unwrap(), ["a", "b"]);
    }
    assert_eq!(read(vec![text("roles", "")]).unwrap().outside.roles.unwrap(), Vec::<String>::new());
    assert!(read(vec![column("roles", Cell::Null)]).unwrap().outside.roles.is_none());
}

#[test]
fn unreadable_values_name_the_column_and_never_the_value() {
    for (name, cell) in [
        ("roles", Cell::Value(json!(17))),
        ("roles", Cell::Value(json!(["a", 17]))),
        ("groups", Cell::Value("[\"canary\"".into())),
        ("disabled", Cell::Value("canary".into())),
        ("disabled", Cell::Value(json!(2))),
        ("expires", Cell::Value("canary".into())),
        ("expires", Cell::Value("2027-01-31 18:00".into())),
        ("expires_after", Cell::Value("canary".into())),
        ("expires_after", Cell::Value("0s".into())),
        ("source", Cell::Value("canary".into())),
        ("source", Cell::Value("".into())),
        ("connection_types", Cell::Value("canary".into())),
        ("permissions", Cell::Value(json!({"publish": "{{ user }}"}))),
        ("permissions", Cell::Value("canary".into())),
        ("permissions", Cell::Value(json!({"canary": 1}))),
        ("account", Cell::Value(json!(1))),
        ("user", Cell::Value(json!(1))),
        ("password", Cell::Value(json!(1))),
        ("totp", Cell::Value("canary".into())),
        ("other", Cell::Time(callgate::clock::UnixTime::from_seconds(0))),
    ] {
        let error = read(vec![column(name, cell)]).unwrap_err();
        assert!(error.contains(name) && !error.contains("canary"), "{error}");
    }
    let unsupported = Column { name: "ip".to_owned(), kind: "INET".to_owned(), cell: None };
    assert_eq!(read(vec![unsupported]).unwrap_err(), "column `ip` (INET) cannot be read");
}

#[test]
fn every_column_has_its_meaning() {
    let row = read(vec![
        text("Account", "APP"),
        column("permissions", Cell::Value(json!({"publish": ["a.>"]}))),
        text("groups", "x,y"),
        column("disabled", Cell::Value(json!(1))),
        column("expires", Cell::Value(json!(1_900_000_000))),
        text("expires_after", "8h"),
        text("source", "10.0.0.0/8, 127.0.0.1"),
        text("connection_types", "mqtt"),
        column("totp", Cell::Null),
        column("level", Cell::Value(json!(3))),
        column("nothing", Cell::Null),
    ])
    .unwrap()
    .outside;
    assert_eq!(row.user, "typed");
    assert_eq!(row.account.as_deref(), Some("APP"));
    assert!(row.permissions.is_some() && row.disabled);
    assert_eq!(row.groups, ["x", "y"]);
    assert_eq!(row.expires.unwrap().seconds(), 1_900_000_000);
    assert_eq!(row.expires_after, Some(Duration::from_secs(8 * 3600)));
    assert_eq!(row.source.unwrap().len(), 2);
    assert_eq!(serde_json::Value::Object(row.claims), json!({"level": 3}));
}

#[test]
fn contradictory_and_incomplete_rows_are_unusable() {
    assert!(read(vec![text("user", "a"), text("USER", "b")]).is_err());
    assert!(read(vec![text("x", "a"), text("x", "b")]).is_err());
    assert!(UserRow::read(vec![text("user", "a")], Some("a"), true).is_err());
    assert!(UserRow::read(vec![text("x", "a")], None, false).is_err());
    let list = vec!["a".repeat(1000); 1100];
    assert!(read(vec![column("roles", Cell::Value(list.into()))]).is_err());
}
