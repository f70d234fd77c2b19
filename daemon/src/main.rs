//! `tidemill`: Kafka topics into tables, in windows, exactly once.

mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::keep_nothing();
    tidemill::cli::main()
}
