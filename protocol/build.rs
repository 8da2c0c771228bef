//! Ends the build on systems that hatchery cannot run on, with one sentence.
//!
//! A `compile_error!` alone would come too late: after whatever a dependency has to say there, and among all that this
//! crate does not find. So there the crates of hatchery depend on nothing but each other, and this is run first.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of_target = |name| std::env::var(name).unwrap_or_default();
    if of_target("CARGO_CFG_TARGET_OS") != "linux" {
        let target = of_target("TARGET");
        println!(
            "cargo::error=hatchery needs Linux: it relies on parent-death signals, pidfds and /proc. \
             This build is for {target}"
        );
    }
}
