//! Configurations of CNI, right and wrong.

use serde_json::json;

use super::*;

fn config(more: Value) -> Config {
    let mut config = json!({"name": "net", "cniVersion": "1.0.0"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Config::read(config.to_string().as_bytes()).unwrap()
}

#[test]
fn fields_of_others_are_ignored() {
    let config = config(json!({
        "type": "umacvlan-cni", "capabilities": {"mac": true}, "colour": 7,
        "ipam": {"type": "host-local", "subnet": "10.0.0.0/8"},
    }));
    assert_eq!((config.ipam(), config.mode().unwrap()), (Some("host-local"), Mode::Bridge));
    assert_eq!(Config::read(b"{\"name\": \"net\"}").unwrap().ipam(), None);
    let nothing = json!({"name": "net", "ipam": null, "mtu": null, "runtimeConfig": null});
    assert_eq!(Config::read(nothing.to_string().as_bytes()).unwrap().ipam(), None);
}

#[test]
fn each_mistake_has_its_error_code() {
    for (text, code, words) in [
        ("{", DECODING, "error unmarshall network config"),
        (
            r#"{"cniVersion":"1.0.0","name":"n","mtu":1500,"x":{"a":1,"a":2}}"#,
            DECODING,
            "duplicate field `a`",
        ),
        ("{}", CONFIG, "missing network name"),
        (r#"{"name": "a/b"}"#, CONFIG, "invalid characters found in network name"),
        (r#"{"name": "a", "mtu": "x"}"#, DECODING, "invalid type"),
        (r#"{"name": "a", "nodst": "x"}"#, DECODING, "invalid type"),
    ] {
        let error = Config::read(text.as_bytes()).unwrap_err();
        assert_eq!(error.code, code, "{text}");
        assert!(error.msg.contains(words), "{error:?}");
    }
    let error = config(json!({"mode": "loud"})).mode().unwrap_err();
    assert_eq!((error.code, error.msg.as_str()), (CONFIG, "unknown macvlan mode: \"loud\""));
    let error = config(json!({"linkInContainer": true})).master().unwrap_err();
    assert_eq!(error.code, UNSUPPORTED);
    assert_eq!(config(json!({})).prev_result().unwrap_err().code, CONFIG);
}

#[test]
fn host_access_is_a_word_or_a_list_of_addresses() {
    let ipam = json!({"type": "host-local"});
    let host =
        |host: Value, mode: &str| config(json!({"host": host, "mode": mode, "ipam": ipam})).host();
    assert_eq!(host(Value::Null, "private"), Ok(None));
    assert_eq!(host(json!(false), "private"), Ok(None));
    assert_eq!(host(json!(true), ""), Ok(Some(Vec::new())));
    let list = json!(["10.1.0.9", "fd00::9"]);
    assert_eq!(host(list, "vepa").unwrap().unwrap().len(), 2);
    let refused = host(json!(true), "private").unwrap_err();
    assert!(refused.msg.contains("modes bridge and vepa, and this is private"), "{refused:?}");
    let refused = config(json!({"host": true})).host().unwrap_err();
    assert!(refused.msg.contains("name an ipam"), "{refused:?}");
    let wrong = Config::read(br#"{"name": "net", "host": "yes"}"#).unwrap_err();
    assert!(wrong.msg.contains("expected true, false or a list"), "{wrong:?}");
}

#[test]
fn the_address_of_the_runtime_takes_precedence() {
    let all = json!({"mac": "02:00:00:00:00:01", "runtimeConfig": {"mac": "02:00:00:00:00:03"}});
    let address =
        |more: Value, args: &str| config(more).address(args).unwrap().map(|mac| mac.to_string());
    let last = |number: u8| Some(format!("02:00:00:00:00:0{number}"));
    let args = "IgnoreUnknown=1;K8S_POD_NAME=x;MAC=02:00:00:00:00:02";
    assert_eq!(address(all, args), last(3));
    assert_eq!(address(json!({"mac": "02:00:00:00:00:01"}), args), last(2));
    assert_eq!(address(json!({"mac": "02:00:00:00:00:01"}), ""), last(1));
    assert_eq!(address(json!({}), ""), None);
    let error = config(json!({"mac": "x"})).address("").unwrap_err();
    assert!(error.msg.starts_with("invalid args x for MAC addr: "), "{error:?}");
}
