//! Everything that talks to the kernel directly; the only place with `unsafe`.
#![allow(
    unsafe_code,
    reason = "system calls; one per block, each with its SAFETY line"
)]
