//! The `distomon` program: arguments in, exit status out.

fn main() -> std::process::ExitCode {
    distomon::cli::main()
}
