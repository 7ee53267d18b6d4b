//! [`Ipam`]: the plugin that gives addresses, called as the specification has it delegated.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::config::Config;
use super::error::{CONFIG, CniError, INTERNAL, IO};
use super::request::Call;
use super::result::Attached;

/// A plugin for addresses, with the configuration that it gets, the same as ours.
#[derive(Debug)]
pub(super) struct Ipam<'a> {
    program: PathBuf,
    config: &'a [u8],
}

impl<'a> Ipam<'a> {
    /// The plugin that the configuration names; `None` if it names none.
    ///
    /// # Errors
    /// If it is not there.
    pub(super) fn find(
        config: &Config,
        call: &Call,
        text: &'a [u8],
    ) -> Result<Option<Self>, CniError> {
        let Some(kind) = config.ipam() else {
            return Ok(None);
        };
        if kind.contains('/') {
            return Err(CniError::new(CONFIG, format!("invalid plugin name: {kind}")));
        }
        let program = call.path.iter().map(|folder| folder.join(kind)).find(|file| file.is_file());
        let missing = || {
            let folders: Vec<_> = call.path.iter().map(|at| at.display().to_string()).collect();
            let folders = folders.join(" ");
            CniError::new(CONFIG, format!("failed to find plugin {kind:?} in path [{folders}]"))
        };
        Ok(Some(Self { program: program.ok_or_else(missing)?, config: text }))
    }

    /// Takes addresses.
    ///
    /// # Errors
    /// What the plugin says, or that it gave none.
    pub(super) fn add(&self) -> Result<Attached, CniError> {
        let said = self.run("ADD")?;
        let value = serde_json::from_slice(&said).map_err(|error| {
            self.broken(&format!("its result is not understood: {error}"), &said)
        })?;
        let attached = Attached::read(value)?;
        if attached.ips.is_empty() {
            return Err(CniError::new(INTERNAL, "IPAM plugin returned missing IP config"));
        }
        Ok(attached)
    }

    /// Calls it for something that has no result.
    ///
    /// # Errors
    /// What the plugin says.
    pub(super) fn tell(&self, command: &str) -> Result<(), CniError> {
        self.run(command).map(drop)
    }

    /// Runs it with our environment and standard error; what it has printed.
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
            // It may know what to do, or that it cannot, without having read all.
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
        let said = serde_json::from_slice::<CniError>(&output.stdout);
        Err(said.unwrap_or_else(|_| {
            self.broken(&format!("netplugin failed with {}", output.status), &output.stdout)
        }))
    }

    fn broken(&self, what: &str, said: &[u8]) -> CniError {
        let said = String::from_utf8_lossy(said);
        CniError::new(INTERNAL, format!("{}: {what}", self.program.display())).with_details(said)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use umacvlan_testkit::Scratch;

    use super::super::request::Verb;
    use super::*;

    /// What a plugin that is this script says to `ADD`.
    fn add(script: &str) -> Result<Attached, CniError> {
        let folder = Scratch::new();
        let file = folder.path().join("fake");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        let config = Config::read(br#"{"name": "net", "ipam": {"type": "fake"}}"#).unwrap();
        Ipam::find(&config, &call(folder.path()), b"the configuration").unwrap().unwrap().add()
    }

    fn call(folder: &Path) -> Call {
        Call {
            verb: Verb::Add,
            container: "c1".to_owned(),
            netns: "/run/netns/blue".to_owned(),
            ifname: "eth0".to_owned(),
            args: String::new(),
            path: vec!["/nowhere".into(), folder.to_owned()],
            own_netns: false,
        }
    }

    #[test]
    fn a_plugin_gets_the_configuration_and_the_command() {
        let attached = add(r#"test "$CNI_COMMAND" = ADD && test "$(cat)" = "the configuration" &&
            echo '{"ips": [{"address": "10.0.0.2/8"}]}'"#);
        assert_eq!(attached.unwrap().ips[0].address.to_string(), "10.0.0.2/8");
    }

    #[test]
    fn what_a_plugin_says_is_passed_on_and_its_silence_is_told() {
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
    fn a_plugin_that_is_not_there_is_named_with_where_it_was_looked_for() {
        for (kind, words) in [
            ("nope", "failed to find plugin \"nope\" in path [/nowhere /dev]"),
            ("../sh", "invalid plugin name: ../sh"),
        ] {
            let text = format!(r#"{{"name": "net", "ipam": {{"type": "{kind}"}}}}"#);
            let config = Config::read(text.as_bytes()).unwrap();
            let error = Ipam::find(&config, &call(Path::new("/dev")), b"").unwrap_err();
            assert_eq!((error.code, error.msg.as_str()), (CONFIG, words));
        }
    }
}
