//! From text to a filter. The grammar is that of pcap-filter(7), as far as the primitives are known.

use std::str::FromStr;

use super::{ARP, Expr, FilterError, FrameFilter, IPV4, IPV6, Side, TCP, Test, UDP, Version};
use crate::MacAddr;

/// What an error about an unknown primitive says.
const KNOWN: &str = "known are: arp, ip, ip6, icmp, icmp6, igmp, tcp, udp, vlan [ID], \
    [ether] broadcast|multicast, ether [src|dst|host] MAC, ether proto NUMBER|arp|ip|ip6, \
    ip|ip6 proto NUMBER, [ip|ip6|arp] [src|dst] host ADDRESS, [tcp|udp] [src|dst] port NUMBER, \
    and, or, not, ( )";

/// How deep parentheses and `not` may nest, and how many primitives there may be: the parser and the
/// comparison call themselves.
const DEPTH: usize = 32;
const TESTS: usize = 256;

const ICMP: u8 = 1;
const IGMP: u8 = 2;
const ICMP6: u8 = 58;

impl FromStr for FrameFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let words = words(text);
        let mut parser = Parser { words: &words, tags: 0, tests: 0 };
        let expr = parser.expression(0)?;
        match parser.words.first() {
            None => Ok(Self(expr)),
            Some(word) => Err(parser.error(&format!("\"{word}\" is not expected here"))),
        }
    }
}

/// The words of a filter; parentheses and the signs for `and`, `or` and `not` are words.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for mut word in text.split_whitespace() {
        while !word.is_empty() {
            let sign = ["&&", "||", "(", ")", "!"].into_iter().find(|sign| word.starts_with(sign));
            let end = match sign {
                Some(sign) => sign.len(),
                None => word
                    .find(['&', '|', '(', ')', '!'])
                    .filter(|&end| end > 0)
                    .unwrap_or(word.len()),
            };
            words.push(&word[..end]);
            word = &word[end..];
        }
    }
    words
}

struct Parser<'w> {
    words: &'w [&'w str],
    /// The tags behind which the next primitive looks.
    tags: usize,
    tests: usize,
}

impl<'w> Parser<'w> {
    fn error(&self, what: &str) -> FilterError {
        FilterError(format!("{what}; {KNOWN}"))
    }

    fn take(&mut self, wanted: &[&str]) -> Option<&'w str> {
        let (first, rest) = self.words.split_first()?;
        wanted.contains(first).then(|| {
            self.words = rest;
            *first
        })
    }

    fn next(&mut self, what: &str) -> Result<&'w str, FilterError> {
        let Some((first, rest)) = self.words.split_first() else {
            return Err(self.error(&format!("the filter ends where {what} is expected")));
        };
        self.words = rest;
        Ok(first)
    }

    fn expression(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut left = self.term(depth)?;
        while let Some(word) = self.take(&["and", "&&", "or", "||"]) {
            let (one, other) = (Box::new(left), Box::new(self.term(depth)?));
            left = match word {
                "and" | "&&" => Expr::And(one, other),
                _ => Expr::Or(one, other),
            };
        }
        Ok(left)
    }

    fn term(&mut self, depth: usize) -> Result<Expr, FilterError> {
        if depth > DEPTH {
            return Err(FilterError(format!("the filter nests more than {DEPTH} levels deep")));
        }
        if self.take(&["not", "!"]).is_some() {
            return self.term(depth + 1).map(|inner| Expr::Not(Box::new(inner)));
        }
        if self.take(&["("]).is_some() {
            let inner = self.expression(depth + 1)?;
            return match self.take(&[")"]) {
                Some(_) => Ok(inner),
                None => Err(self.error("a parenthesis is not closed")),
            };
        }
        self.tests += 1;
        if self.tests > TESTS {
            return Err(FilterError(format!("the filter has more than {TESTS} primitives")));
        }
        self.primitive()
    }

    fn test(&self, test: Test) -> Expr {
        Expr::Test(self.tags, test)
    }

    fn primitive(&mut self) -> Result<Expr, FilterError> {
        let any = Version::Any;
        match self.next("a primitive")? {
            "ether" => self.ether(),
            "broadcast" => Ok(self.test(Test::Broadcast)),
            "multicast" => Ok(self.test(Test::Multicast)),
            "vlan" => self.vlan(),
            "arp" => self.network(ARP),
            "ip" => self.network(IPV4),
            "ip6" => self.network(IPV6),
            "icmp" => Ok(self.test(Test::Protocol(Version::V4, ICMP))),
            "igmp" => Ok(self.test(Test::Protocol(Version::V4, IGMP))),
            "icmp6" => Ok(self.test(Test::Protocol(Version::V6, ICMP6))),
            "tcp" => self.transport(Test::Protocol(any, TCP), TCP),
            "udp" => self.transport(Test::Protocol(any, UDP), UDP),
            word @ ("host" | "port" | "src" | "dst") => {
                let side = self.side(word)?;
                self.address_or_port(side, None, word)
            }
            word => Err(self.error(&format!("\"{word}\" is not a known primitive"))),
        }
    }

    /// The side that a word begins: `src`, `dst`, `src or dst`, `src and dst`, or none.
    fn side(&mut self, word: &str) -> Result<Side, FilterError> {
        let (side, other) = match word {
            "src" => (Side::Src, "dst"),
            "dst" => (Side::Dst, "src"),
            _ => return Ok(Side::Either),
        };
        let joined = match self.words {
            [join @ ("and" | "or"), next, ..] if *next == other => *join,
            _ => return Ok(side),
        };
        self.words = &self.words[2..];
        Ok(if joined == "and" { Side::Both } else { Side::Either })
    }

    fn ether(&mut self) -> Result<Expr, FilterError> {
        let word = self.next("src, dst, host, proto, broadcast or multicast")?;
        let side = match word {
            "broadcast" => return Ok(self.test(Test::Broadcast)),
            "multicast" => return Ok(self.test(Test::Multicast)),
            "proto" => return self.ether_proto(),
            "host" => Side::Either,
            "src" | "dst" => self.side(word)?,
            _ => return Err(self.error(&format!("\"ether {word}\" is not known"))),
        };
        if word != "host" {
            self.take(&["host"]);
        }
        let text = self.next("a MAC address")?;
        let mac: MacAddr =
            text.parse().map_err(|_| self.error(&format!("\"{text}\" is not a MAC address")))?;
        Ok(self.test(Test::Ether(side, mac)))
    }

    fn ether_proto(&mut self) -> Result<Expr, FilterError> {
        let text = self.next("an EtherType")?;
        let ethertype = match text.trim_start_matches('\\') {
            "arp" => ARP,
            "ip" => IPV4,
            "ip6" => IPV6,
            number => number_of(number)
                .ok_or_else(|| self.error(&format!("\"{text}\" is not an EtherType")))?,
        };
        if ethertype < 1536 {
            return Err(self.error(&format!("{ethertype} is a length and not an EtherType")));
        }
        Ok(self.test(Test::EtherType(ethertype)))
    }

    /// `arp`, `ip` or `ip6`, alone or before an address or a protocol.
    fn network(&mut self, ethertype: u16) -> Result<Expr, FilterError> {
        if let Some(word) = self.take(&["host", "src", "dst"]) {
            let side = self.side(word)?;
            return self.address_or_port(side, Some(ethertype), word);
        }
        let version = match ethertype {
            IPV4 => Version::V4,
            _ => Version::V6,
        };
        if ethertype != ARP && self.take(&["proto"]).is_some() {
            let text = self.next("a protocol number")?;
            let protocol =
                number_of(text.trim_start_matches('\\')).and_then(|it| u8::try_from(it).ok());
            let protocol = protocol
                .ok_or_else(|| self.error(&format!("\"{text}\" is not a protocol number")))?;
            return Ok(self.test(Test::Protocol(version, protocol)));
        }
        Ok(self.test(Test::EtherType(ethertype)))
    }

    /// `tcp` or `udp`, alone or before a port.
    fn transport(&mut self, alone: Test, protocol: u8) -> Result<Expr, FilterError> {
        let Some(word) = self.take(&["port", "src", "dst"]) else {
            return Ok(self.test(alone));
        };
        let side = self.side(word)?;
        if word != "port" && self.take(&["port"]).is_none() {
            return Err(self.error("a port is expected"));
        }
        self.port(side, Some(protocol))
    }

    /// What follows a side: `host` and an address, `port` and a number, or an address.
    fn address_or_port(
        &mut self,
        side: Side,
        ethertype: Option<u16>,
        word: &str,
    ) -> Result<Expr, FilterError> {
        let sided = word == "src" || word == "dst";
        let is_port = word == "port" || sided && self.take(&["port"]).is_some();
        if is_port {
            return match ethertype {
                None => self.port(side, None),
                Some(_) => Err(self.error("ports are behind tcp and udp")),
            };
        }
        if sided {
            self.take(&["host"]);
        }
        let text = self.next("an address")?;
        let ip =
            text.parse().map_err(|_| self.error(&format!("\"{text}\" is not an IP address")))?;
        let host = self.test(Test::Host(side, ip));
        match (ip, ethertype) {
            (std::net::IpAddr::V4(v4), None) => {
                let arp = self.test(Test::Arp(side, v4));
                Ok(Expr::Or(Box::new(host), Box::new(arp)))
            }
            (std::net::IpAddr::V4(v4), Some(ARP)) => Ok(self.test(Test::Arp(side, v4))),
            (std::net::IpAddr::V4(_), Some(IPV4))
            | (std::net::IpAddr::V6(_), None | Some(IPV6)) => Ok(host),
            _ => Err(self.error(&format!("{text} is of the other version of IP"))),
        }
    }

    fn port(&mut self, side: Side, protocol: Option<u8>) -> Result<Expr, FilterError> {
        let text = self.next("a port number")?;
        let port = number_of(text);
        let port = port.ok_or_else(|| self.error(&format!("\"{text}\" is not a port number")))?;
        Ok(self.test(Test::Port(side, protocol, port)))
    }

    /// `vlan`, alone or before a VLAN id; the primitives that follow look behind the tag.
    fn vlan(&mut self) -> Result<Expr, FilterError> {
        let vid = match self.words.first() {
            Some(word) if word.starts_with(|sign: char| sign.is_ascii_digit()) => {
                self.words = &self.words[1..];
                let vid = number_of(word).filter(|&vid| vid < 4096);
                Some(vid.ok_or_else(|| self.error(&format!("\"{word}\" is not a VLAN id")))?)
            }
            _ => None,
        };
        let test = self.test(Test::Tag(vid));
        self.tags += 1;
        Ok(test)
    }
}

/// A number, decimal or with `0x`.
fn number_of(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<FrameFilter>().unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        for (filter, why) in [
            ("", "ends where a primitive"),
            ("net 10.0.0.0/8", "\"net\" is not a known primitive"),
            ("arp and", "ends where a primitive"),
            ("(arp", "not closed"),
            ("arp)", "\")\" is not expected"),
            ("arp ip", "\"ip\" is not expected"),
            ("ether host 1:2", "\"1:2\" is not a MAC address"),
            ("ether proto 5", "is a length"),
            ("ether gateway x", "\"ether gateway\" is not known"),
            ("host example.org", "not an IP address"),
            ("ip host ::1", "other version"),
            ("ip6 host 10.0.0.1", "other version"),
            ("port 70000", "not a port number"),
            ("tcp src 80", "a port is expected"),
            ("vlan 5000", "not a VLAN id"),
            ("tcp[13] & 2 != 0", "\"tcp[13]\" is not a known primitive"),
            ("ip proto 300", "not a protocol number"),
        ] {
            let error = error(filter);
            assert!(error.contains(why) && error.contains("known are: arp"), "{filter}: {error}");
        }
    }

    #[test]
    fn endless_filters_are_refused_and_not_followed() {
        let deep = format!("{}arp", "( ".repeat(100_000));
        assert!(error(&deep).contains("levels deep"));
        assert!(error(&"not ".repeat(100_000)).contains("levels deep"));
        let long = ["arp"; 10_000].join(" or ");
        assert!(error(&long).contains("more than 256 primitives"));
    }
}
