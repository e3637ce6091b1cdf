//! Measures ior-bridge beside mosquitto and prints the table of what is to be reached; `docs/benchmarks.md` explains
//! every row.

mod args;
mod bridge;
mod client;
mod clock;
mod cores;
mod disk;
mod fleet;
mod idle;
mod latency;
mod line;
mod load;
mod mosquitto;
mod process;
mod relay;
mod report;
mod results;
mod runner;
mod tally;
mod throughput;
mod wear;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Measure};
use crate::process::Machine;
use crate::report::Report;
use crate::runner::Runner;

/// An error that ends the run; what it says is for the person who started it.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if args.wants(Measure::Wear) {
        disk::enter_own_namespace();
    }
    let mut runner = Runner::new(args)?;
    runner.run()?;
    let (relays, notes) = runner.finish();
    let report = Report { args, machine: Machine::read()?, relays, notes };
    if args.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
