//! The entry point of the registry, of `htpasswd` and of the image's entrypoint, which are one binary.

mod allocator;

fn main() -> std::process::ExitCode {
    allocator::give_memory_back();
    // Before anything else: rustls panics if no provider is installed when it needs one.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        unreachable!("nothing ran before this");
    }
    registry_server::cli::run(std::env::args_os())
}
