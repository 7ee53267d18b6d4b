//! Decides about frames with the rules of umacvlan, without any network interface:
//! `cargo run --example decide`.
//!
//! It adds one sub-interface of each mode to a parent and shows who gets which frame, and why.

use std::error::Error;

use umacvlan_core::{
    Action, Frame, MacAddr, Mode, ParentInfo, Replica, Semantics, SubConfig, Switch, Verdict,
};

fn main() -> Result<(), Box<dyn Error>> {
    let parent = ParentInfo { mac: "02:00:00:00:00:ff".parse()?, mtu: 1500, promisc: false };
    let mut switch = Switch::new(parent, Semantics::Documented);
    let outside: MacAddr = "02:ee:00:00:00:01".parse()?;

    println!("A parent, {}, and its sub-interfaces:", parent.mac);
    let modes = [Mode::Bridge, Mode::Bridge, Mode::Private, Mode::Source, Mode::Vepa];
    for (last, mode) in (1..).zip(modes) {
        let mut config = SubConfig::new(MacAddr::new([2, 0, 0, 0, 0, last]), mode);
        if mode == Mode::Source {
            config.settings.sources.push(outside);
        }
        let sub = switch.add(&config)?;
        switch.set_up(sub, true)?;
        println!("  {}  {mode:<8}  {}", sub.index(), config.mac);
    }

    println!("\nFrames from the wire:");
    let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
    for (src, dst) in [
        (outside, mac(1)),
        (outside, parent.mac),
        (outside, MacAddr::BROADCAST),
        (mac(5), MacAddr::BROADCAST),
        (mac(1), mac(3)),
    ] {
        let bytes = ethernet(src, dst);
        let frame = Frame::new(&bytes).ok_or("a runt")?;
        println!("  {src} > {dst}: {}", describe(switch.ingress(frame)));
        for step in switch.explain_ingress(frame).steps {
            println!("      {step:?}");
        }
    }

    println!("\nFrames from sub-interface 0, in mode bridge:");
    let (first, _) = switch.subs().next().ok_or("no sub-interface")?;
    for dst in [mac(2), mac(3), MacAddr::BROADCAST] {
        let bytes = ethernet(mac(1), dst);
        let frame = Frame::new(&bytes).ok_or("a runt")?;
        println!("  {} > {dst}: {}", mac(1), describe(switch.egress(first, frame, false)));
    }
    Ok(())
}

/// The smallest Ethernet frame, with an EtherType for local experiments.
fn ethernet(src: MacAddr, dst: MacAddr) -> Vec<u8> {
    let mut bytes = [dst.octets(), src.octets()].concat();
    bytes.extend([0x88, 0xb5]);
    bytes.resize(60, 0);
    bytes
}

/// The verdict in words.
fn describe(verdict: Verdict<'_>) -> String {
    let Verdict { copies, action } = verdict;
    let mut words: Vec<String> = copies.map(|sub| format!("copy to {}", sub.index())).collect();
    words.push(match action {
        Action::Deliver(sub) => format!("deliver to {}", sub.index()),
        Action::Drop(reason) => format!("drop: {reason}"),
        Action::Host => "leave to the host".to_owned(),
        Action::Wire => "send to the wire".to_owned(),
        Action::Flood(flood) => {
            let side = format!("{:?}", flood.rule().also()).to_lowercase();
            let receivers = flood.map(|replica| match replica {
                Replica::Deliver(sub) => sub.index().to_string(),
                Replica::TooLong(sub) => format!("not {}: too long", sub.index()),
            });
            format!("flood to {} and the {side}", receivers.collect::<Vec<_>>().join(", "))
        }
    });
    words.join(", ")
}
