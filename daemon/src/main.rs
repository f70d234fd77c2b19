//! `tidemill`: Kafka topics into tables, in windows, exactly once.

mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::no_huge_pages();
    tidemill::cli::main()
}
