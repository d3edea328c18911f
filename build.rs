//! How the static program is linked; everything else is Cargo.toml's.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|libc| libc == "musl") {
        // Relocations of a static PIE in 5 KB instead of 400: less to ship, and fewer pages to read before `main`. A linker
        // that does not know it for this architecture warns and goes on.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
            println!("cargo:rustc-link-arg-bins=-Wl,-e,warden_start"); // src/start.rs
        }
    }
}
