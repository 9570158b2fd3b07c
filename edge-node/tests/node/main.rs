//! The edge node as a process, with real brokers and a real disk.

mod broker;
mod brokers;
mod chain;
mod command;
mod control;
mod deploy;
mod durable;
mod fake;
mod full;
mod journal;
mod memory;
mod policy;
mod refusals;
mod replay;
mod restart;
mod signals;
mod sockets;
mod support;
mod trace;
