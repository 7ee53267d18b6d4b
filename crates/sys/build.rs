//! Compiles each BPF program of `bpf/` to an object, for the feature `af-xdp`.

use std::env;
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Advice for a build without the tools.
const ADVICE: &str = "apt install clang libbpf-dev, or build with --no-default-features";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CLANG");
    if env::var_os("CARGO_FEATURE_AF_XDP").is_none() {
        return Ok(());
    }
    let sources = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("bpf");
    println!("cargo::rerun-if-changed={}", sources.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for entry in fs::read_dir(&sources)? {
        let source = entry?.path();
        if source.extension().is_some_and(|extension| extension == "c")
            && let Err(why) = compile(&source, &out)
        {
            // Cargo prints this as a line of text; it would print an error of `main` as `Debug`.
            println!("cargo::error={why}");
        }
    }
    Ok(())
}

/// Compiles one source to an object of the same name in `out`.
fn compile(source: &Path, out: &Path) -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let name = source.file_name().unwrap_or_default();
    // Relative paths keep the build folder out of the object: the same source gives the same object.
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
    // The whole output, because it names source lines.
    let said = said.trim_end().replace('\n', "\ncargo::error=");
    Err(format!("{clang} cannot compile {source}:\ncargo::error={said}"))
}

/// The BPF target with the byte order of the machine.
fn target() -> &'static str {
    match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb",
        _ => "bpfel",
    }
}

/// Debian's folder of kernel headers for the architecture, which clang does not search for BPF targets.
fn headers() -> impl Iterator<Item = PathBuf> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let folder = PathBuf::from(format!("/usr/include/{arch}-linux-gnu"));
    Some(folder).into_iter().filter(|folder| folder.is_dir())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
