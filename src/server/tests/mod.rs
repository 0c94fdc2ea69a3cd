//! Tests of the server's adapters; over real connections it is tested in `tests/it`.

mod admin;
mod answers;
mod append;
mod calls;
mod clock;
mod conditions;
mod connections;
mod fairness;
mod flood;
mod frames;
mod intake;
mod members;
mod message;
mod pieces;
mod producers;
mod pulse;
mod read_keys;
mod reads;
mod request;
mod sending;
mod served;
mod slow_answers;
mod slow_clients;
mod starving;
mod status;
mod windows;
