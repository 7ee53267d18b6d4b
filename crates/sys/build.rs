//! Compiles the programs for the kernel in `bpf/`, one object each, for the feature `af-xdp`.

use std::env;
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to do about a build that cannot be.
const ADVICE: &str = "apt install clang libbpf-dev, or build with --no-default-features";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CLANG");
    if env::var_os("CARGO_FEATURE_AF_XDP").is_none() {
        return Ok(());
    }
    let sources = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../bpf").canonicalize()?;
    println!("cargo::rerun-if-changed={}", sources.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for entry in fs::read_dir(&sources)? {
        let source = entry?.path();
        if source.extension().is_some_and(|extension| extension == "c")
            && let Err(why) = compile(&source, &out)
        {
            // One clear line, where an error of `main` is shown as its `Debug`.
            println!("cargo::error={why}");
        }
    }
    Ok(())
}

/// Compiles one source to an object of the same name in `out`.
fn compile(source: &Path, out: &Path) -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let name = source.file_name().unwrap_or_default();
    // Compiled where it lies and told so, the object does not say where that was: the same source
    // gives the same object.
    let output = Command::new(&clang)
        .current_dir(source.parent().unwrap_or(source))
        .args(["-target", target(), "-O2", "-g", "-fdebug-compilation-dir=."])
        .args(["-Wall", "-Wextra", "-Werror", "-c"])
        .args(headers().map(|folder| format!("-I{}", folder.display())))
        .arg(name)
        .arg("-o")
        .arg(out.join(name).with_extension("o"))
        .output();
    let output = output.map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{clang} is not installed: {ADVICE}"),
        _ => format!("cannot run {clang}: {error}"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let source = source.display();
    if said.contains("file not found") {
        return Err(format!("{clang} lacks headers for {source}: {ADVICE}; {}", first_line(&said)));
    }
    // All of it: it names lines of our source.
    let said = said.trim_end().replace('\n', "\ncargo::error=");
    Err(format!("{clang} cannot compile {source}:\ncargo::error={said}"))
}

/// What the programs are compiled for: the kernel's byte order is the program's.
fn target() -> &'static str {
    match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb",
        _ => "bpfel",
    }
}

/// Where Debian keeps the kernel's headers of one architecture: the target `bpf` looks in none.
fn headers() -> impl Iterator<Item = PathBuf> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let folder = PathBuf::from(format!("/usr/include/{arch}-linux-gnu"));
    Some(folder).into_iter().filter(|folder| folder.is_dir())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
