//! The JSON Schemas of question and answer, for those who write a service.

use callgate_config::{Type, permissions, schema::set};
use serde_json::{Value, json};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The JSON Schema of a question.
pub fn question_schema() -> Value {
    json!({
        "$schema": DIALECT,
        "$id": "callgate:question:1",
        "type": "object",
        "required": ["version", "id", "authenticator", "deadline_ms", "credential", "client", "server"],
        "properties": {
            "version": { "const": 1 },
            "id": { "type": "string" },
            "authenticator": { "type": "string" },
            "deadline_ms": { "type": "integer", "minimum": 1 },
            "credential": { "oneOf": [
                { "properties": { "kind": { "const": "password" }, "user": { "type": "string" }, "password": { "type": "string" } }, "required": ["kind", "user", "password"] },
                { "properties": { "kind": { "const": "token" }, "token": { "type": "string" } }, "required": ["kind", "token"] },
                { "properties": { "kind": { "const": "nkey" }, "nkey": { "type": "string", "pattern": "^U[A-Z2-7]{55}$" } }, "required": ["kind", "nkey"] },
                { "properties": { "kind": { "enum": ["certificate", "probe"] } }, "required": ["kind"] },
            ] },
            "client": {
                "type": "object",
                "properties": {
                    "host": { "type": "string" },
                    "kind": { "enum": ["client", "leafnode"] },
                    "type": { "enum": ["nats", "websocket", "mqtt"] },
                },
                "required": ["host", "kind"],
            },
            "certificate": { "type": "object", "required": ["subject", "sha256", "not_after"] },
            "server": { "type": "object", "required": ["name"] },
        },
    })
}

/// The JSON Schema of an answer.
pub fn answer_schema() -> Value {
    let mut permissions = Type::Table(permissions::KEYS).document_schema("Permissions");
    set(&mut permissions, "$id", "callgate:permissions:1".into());
    json!({
        "$schema": DIALECT,
        "$id": "callgate:answer:1",
        "type": "object",
        "required": ["result"],
        "oneOf": [
            {
                "properties": {
                    "result": { "const": "allow" },
                    "user": { "type": "string", "minLength": 1, "maxLength": 512 },
                    "groups": { "type": "array", "maxItems": 1000, "items": { "type": "string", "maxLength": 256 } },
                    "claims": { "type": "object" },
                    "account": { "type": "string", "minLength": 1 },
                    "roles": { "type": "array", "items": { "type": "string" } },
                    "permissions": { "$ref": "callgate:permissions:1" },
                    "expires": { "type": "string", "format": "date-time" },
                    "expires_after": { "type": "string" },
                    "cache": { "type": "string" },
                },
                "additionalProperties": false,
            },
            {
                "properties": {
                    "result": { "const": "deny" },
                    "code": { "enum": ["bad_password", "bad_token", "unknown_user", "user_disabled", "user_expired", "bad_second_factor"] },
                    "detail": { "type": "string", "maxLength": 200 },
                },
                "additionalProperties": false,
            },
            { "properties": { "result": { "const": "ignore" } }, "additionalProperties": false },
        ],
        "$defs": { "permissions": permissions },
    })
}
