//! Entry point of every program that this one binary is: the registry, `htpasswd` and the image's entrypoint.

mod allocator;

fn main() -> std::process::ExitCode {
    allocator::give_memory_back();
    // First of all, and once: rustls panics when it has to choose a provider itself.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        unreachable!("nothing ran before this");
    }
    registry_server::cli::run(std::env::args_os())
}
