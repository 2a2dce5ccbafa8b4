//! The `distomon` program: arguments in, exit status out.

/// The C library's allocator keeps the memory of many short-lived threads in an arena for each of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    distomon::cli::main()
}
