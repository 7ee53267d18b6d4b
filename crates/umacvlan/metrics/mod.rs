//! `umacvlan metrics`: the daemon's metrics, printed or served to Prometheus, which reads no Unix
//! sockets.

mod server;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use umacvlan_client::{Absent, Client};
use umacvlan_text::output::Output;

/// Print the daemon's metrics, or serve them to Prometheus
///
/// They are OpenMetrics text. docs/metrics.md lists them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MetricsArgs {
    /// Serve http://ADDRESS:PORT/metrics until SIGINT or SIGTERM instead; the address is of loopback,
    /// so every user and program of this machine may read them, and no other machine
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    listen: Option<SocketAddr>,

    /// Which links have series of their own: all, none, or a number: that many, those with the most
    /// bytes
    #[arg(long, value_name = "all|none|NUMBER", default_value = "all", value_parser = links)]
    links: String,
}

/// Prints or serves metrics; `socket` is the daemon's.
pub(crate) fn run(args: &MetricsArgs, socket: &Path) -> Result<ExitCode> {
    let path = format!("/metrics?links={}", args.links);
    if let Some(address) = args.listen {
        server::serve(address, socket, &path)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut client = Client::connect(socket, Absent::Wait)?;
    let mut output = Output::new();
    output.text(&client.text(&path)?);
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "it is an IP address and a port, such as 127.0.0.1:9100".to_owned())?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!(
            "{} is not an address of loopback: other machines could read the names of all links. Use \
             127.0.0.1 or [::1], and a web server with access control before it",
            address.ip()
        )),
    }
}

fn links(text: &str) -> Result<String, String> {
    match text {
        "all" | "none" => Ok(text.to_owned()),
        _ => match text.parse::<usize>() {
            Ok(most) => Ok(most.to_string()),
            Err(_) => Err("it is all, none or a number".to_owned()),
        },
    }
}

const EXAMPLES: &str = "\
Examples:
  umacvlan metrics | grep drops
  umacvlan metrics --listen 127.0.0.1:9100
  umacvlan metrics --listen 127.0.0.1:9100 --links 50";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_loopback_are_served() {
        for right in ["127.0.0.1:9100", "127.9.9.9:0", "[::1]:9100"] {
            assert!(loopback(right).is_ok(), "{right}");
        }
        for wrong in
            ["0.0.0.0:9100", "[::]:9100", "192.0.2.1:9100", "[::ffff:127.0.0.1]:1", "127.0.0.1"]
        {
            assert!(loopback(wrong).is_err(), "{wrong}");
        }
        assert!(loopback("localhost:9100").unwrap_err().contains("127.0.0.1:9100"));
    }

    #[test]
    fn links_are_all_none_or_a_number() {
        assert_eq!(links("050").as_deref(), Ok("50"));
        for wrong in ["", "-1", "top", "5&links=all", "99999999999999999999"] {
            assert!(links(wrong).is_err(), "{wrong}");
        }
    }
}
