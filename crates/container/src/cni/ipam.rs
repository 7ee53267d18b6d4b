//! [`Ipam`]: a delegated IPAM plugin.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::config::Config;
use super::dhcp;
use super::error::{CONFIG, CniError, INTERNAL, IO};
use super::request::Request;
use super::result::AddResult;

/// An IPAM plugin and the configuration for its standard input, which is the same as ours.
#[derive(Debug)]
pub(super) struct Ipam<'a> {
    program: PathBuf,
    config: &'a [u8],
}

impl<'a> Ipam<'a> {
    /// Finds the plugin that the configuration names in `CNI_PATH`; `None` if it names none, or
    /// addresses from the daemon.
    ///
    /// # Errors
    /// The plugin does not exist.
    pub(super) fn find(
        config: &Config,
        request: &Request,
        text: &'a [u8],
    ) -> Result<Option<Self>, CniError> {
        let Some(kind) = config.ipam().filter(|&kind| kind != dhcp::IPAM) else {
            return Ok(None);
        };
        if kind.contains('/') {
            return Err(CniError::new(CONFIG, format!("invalid plugin name: {kind}")));
        }
        let program =
            request.path.iter().map(|folder| folder.join(kind)).find(|file| file.is_file());
        let missing = || {
            let folders: Vec<_> = request.path.iter().map(|at| at.display().to_string()).collect();
            let folders = folders.join(" ");
            CniError::new(CONFIG, format!("failed to find plugin {kind:?} in path [{folders}]"))
        };
        Ok(Some(Self { program: program.ok_or_else(missing)?, config: text }))
    }

    /// Runs `ADD` and returns the addresses.
    ///
    /// # Errors
    /// The error of the plugin, or its result has no address.
    pub(super) fn add(&self) -> Result<AddResult, CniError> {
        let output = self.run("ADD")?;
        let value = serde_json::from_slice(&output).map_err(|error| {
            self.malformed(&format!("its result is not understood: {error}"), &output)
        })?;
        let result = AddResult::read(value)?;
        if result.ips.is_empty() {
            return Err(CniError::new(INTERNAL, "IPAM plugin returned missing IP config"));
        }
        Ok(result)
    }

    /// Runs a command that has no result.
    ///
    /// # Errors
    /// The error of the plugin.
    pub(super) fn exec(&self, command: &str) -> Result<(), CniError> {
        self.run(command).map(drop)
    }

    /// Runs a command with our environment and standard error, and returns the output.
    fn run(&self, command: &str) -> Result<Vec<u8>, CniError> {
        let failed =
            |error| CniError::new(IO, format!("cannot run {}: {error}", self.program.display()));
        let mut child = Command::new(&self.program)
            .env("CNI_COMMAND", command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(self.config)
            // A plugin may exit without reading all of it.
            && error.kind() != ErrorKind::BrokenPipe
        {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(error));
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let error = serde_json::from_slice::<CniError>(&output.stdout);
        Err(error.unwrap_or_else(|_| {
            self.malformed(&format!("netplugin failed with {}", output.status), &output.stdout)
        }))
    }

    fn malformed(&self, what: &str, output: &[u8]) -> CniError {
        let output = String::from_utf8_lossy(output);
        CniError::new(INTERNAL, format!("{}: {what}", self.program.display())).with_details(output)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use umacvlan_testkit::{Scratch, write_program};

    use super::super::request::Verb;
    use super::*;

    /// The result of `ADD` from a plugin that is this shell script.
    fn add(script: &str) -> Result<AddResult, CniError> {
        let folder = Scratch::new();
        let file = folder.path().join("fake");
        write_program(&file, &format!("#!/bin/sh\n{script}\n"));
        let config = Config::read(br#"{"name": "net", "ipam": {"type": "fake"}}"#).unwrap();
        Ipam::find(&config, &request(folder.path()), b"the configuration").unwrap().unwrap().add()
    }

    fn request(folder: &Path) -> Request {
        Request {
            verb: Verb::Add,
            container: "c1".to_owned(),
            netns: "/run/netns/blue".to_owned(),
            ifname: "eth0".to_owned(),
            args: String::new(),
            path: vec!["/nowhere".into(), folder.to_owned()],
            allow_own_netns: false,
        }
    }

    #[test]
    fn a_plugin_gets_the_configuration_and_the_command() {
        let result = add(r#"test "$CNI_COMMAND" = ADD && test "$(cat)" = "the configuration" &&
            echo '{"ips": [{"address": "10.0.0.2/8"}]}'"#);
        assert_eq!(result.unwrap().ips[0].address.to_string(), "10.0.0.2/8");
    }

    #[test]
    fn errors_of_a_plugin_are_passed_on_and_a_missing_one_is_reported() {
        let error = add(r#"echo '{"code": 11, "msg": "no addresses left"}'; exit 1"#).unwrap_err();
        assert_eq!((error.code, error.msg.as_str()), (11, "no addresses left"));
        for (script, words) in [
            ("exit 3", "netplugin failed with exit status: 3"),
            ("echo no", "its result is not understood"),
            ("echo '{}'", "IPAM plugin returned missing IP config"),
        ] {
            let error = add(script).unwrap_err();
            assert_eq!(error.code, INTERNAL);
            assert!(error.msg.contains(words), "{script}: {error:?}");
        }
    }

    #[test]
    fn a_missing_plugin_is_reported_with_the_searched_directories() {
        for (kind, words) in [
            ("nope", "failed to find plugin \"nope\" in path [/nowhere /dev]"),
            ("../sh", "invalid plugin name: ../sh"),
        ] {
            let text = format!(r#"{{"name": "net", "ipam": {{"type": "{kind}"}}}}"#);
            let config = Config::read(text.as_bytes()).unwrap();
            let error = Ipam::find(&config, &request(Path::new("/dev")), b"").unwrap_err();
            assert_eq!((error.code, error.msg.as_str()), (CONFIG, words));
        }
    }
}
