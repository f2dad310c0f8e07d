//! Entry point: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser as _;
use operator::cli::{Arguments, run};

#[tokio::main]
async fn main() -> ExitCode {
    // The one provider of the workspace; without it the first connection would panic. Only a second call can fail.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  caused by: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
