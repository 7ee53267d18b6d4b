//! [`Args`]: the pairs of names and values in `CNI_ARGS`.

use super::error::{CniError, ENVIRONMENT};

/// What `CNI_ARGS` tells; what it does not is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Args {
    /// The requested MAC address.
    pub(super) mac: String,
    /// The namespace of the pod, from Kubernetes.
    pub(super) pod_namespace: String,
    /// The name of the pod, from Kubernetes.
    pub(super) pod_name: String,
}

impl Args {
    /// Reads the pairs. Unknown names are refused, as by all plugins, unless `IgnoreUnknown` is set.
    ///
    /// # Errors
    /// Something is no pair, or has an unknown name.
    pub(super) fn read(args: &str) -> Result<Self, CniError> {
        let wrong = |msg| CniError::new(ENVIRONMENT, msg);
        let (mut read, mut unknown, mut lenient) = (Self::default(), Vec::new(), false);
        for pair in args.split(';').filter(|_| !args.is_empty()) {
            match pair.split('=').collect::<Vec<_>>()[..] {
                ["MAC", value] => value.clone_into(&mut read.mac),
                ["K8S_POD_NAMESPACE", value] => value.clone_into(&mut read.pod_namespace),
                ["K8S_POD_NAME", value] => value.clone_into(&mut read.pod_name),
                ["IgnoreUnknown", value] => {
                    lenient = ["1", "true"].contains(&value.to_lowercase().as_str());
                }
                [_, _] => unknown.push(format!("{pair:?}")),
                _ => return Err(wrong(format!("ARGS: invalid pair {pair:?}"))),
            }
        }
        if !unknown.is_empty() && !lenient {
            return Err(wrong(format!("ARGS: unknown args [{}]", unknown.join(" "))));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_and_the_address_are_read() {
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;\
                    K8S_POD_INFRA_CONTAINER_ID=7;MAC=02:00:00:00:00:02";
        let read = Args::read(args).unwrap();
        assert_eq!((read.pod_namespace.as_str(), read.pod_name.as_str()), ("shop", "web-0"));
        assert_eq!(read.mac, "02:00:00:00:00:02");
        assert_eq!(Args::read("").unwrap(), Args::default());
    }

    #[test]
    fn unknown_arguments_are_refused_without_ignore_unknown() {
        for (args, words) in [
            ("IP=10.0.0.1", "ARGS: unknown args [\"IP=10.0.0.1\"]"),
            ("MAC", "ARGS: invalid pair \"MAC\""),
        ] {
            let error = Args::read(args).unwrap_err();
            assert_eq!((error.code, error.msg.as_str()), (ENVIRONMENT, words));
        }
        assert_eq!(Args::read("IP=10.0.0.1;IgnoreUnknown=true").unwrap().mac, "");
    }
}
