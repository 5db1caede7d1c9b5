//! Our own answers to "may it?" are those of nats-server.

mod era;
mod known;
mod property;
mod rules;
