//! The fake against a real client of Discord, and against requests that Discord would refuse.

mod parrot;
mod people;
mod rest;
mod round_trip;
mod sessions;
mod signed;
