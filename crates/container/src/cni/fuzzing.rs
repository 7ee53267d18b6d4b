//! Standard input of the plugin and results of IPAM plugins as any bytes, for `umacvlan-fuzz`.

use serde_json::Value;

use super::args::Args;
use super::config::Config;
use super::result::AddResult;
use super::version::{SUPPORTED, Version};

/// Reads a configuration, and a previous result as every version of the specification writes it.
pub fn stdin(bytes: &[u8]) {
    if let Ok(config) = Config::read(bytes) {
        // Wrong fields are errors.
        let _ = (config.version(), config.mode(), config.prev_result(), config.dhcp());
        let _ = config.address(config.version_name());
        config.prev_result().iter().for_each(check);
    }
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        AddResult::read(value).iter().for_each(check);
    }
    let _ = Args::read(&String::from_utf8_lossy(bytes));
}

/// The addresses of a result are the same in every version.
fn check(result: &AddResult) {
    let (addresses, _) = result.addresses_and_routes();
    for name in SUPPORTED {
        let Ok(version) = Version::read(name) else { continue };
        let shown = result.to_json(version, name);
        let again = AddResult::read(shown.clone()).map(|again| again.addresses_and_routes().0);
        if version >= Version::LISTS {
            assert_eq!(again.as_ref().ok(), Some(&addresses), "{shown}");
        }
    }
}
