//! The fault bench: a real broker, a producer at a known rate, one to three daemons, a sink with its real server, and a
//! seeded schedule of faults. Then the sink is read as its users read it, and every (topic, partition, offset) is
//! counted against what the broker acknowledged.
//!
//! In the order of a run: [`kind`] names the faults there are, [`schedule`] draws from them, [`sinks`] are the sinks
//! under test with their servers, [`world`] is everything that was started, [`apply`] does one fault to it, [`proxy`]
//! stands on every way between two parts, [`watch`] sees what readers see, [`run`] goes through the schedule,
//! [`tally`] and [`readers`] count, [`table`] prints.

pub mod apply;
pub mod disk;
pub mod fleet;
pub mod kind;
pub mod proxy;
pub mod readers;
pub mod run;
pub mod schedule;
pub mod sinks;
pub mod table;
pub mod tally;
pub mod watch;
pub mod world;
