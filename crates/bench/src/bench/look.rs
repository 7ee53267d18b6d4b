//! [`Look`]: the colour, marker and dashes of a peer or a mode in every chart.
//!
//! A look belongs to its name and not to a place in a chart, so the same peer looks the same in all
//! reports. Lightness, marker and dashes each tell the looks apart without colour: in greyscale,
//! for the colour-blind, and on light and dark grounds.

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The name of the peer or the mode.
    name: &'static str,
    /// The name in a legend.
    pub(super) label: &'static str,
    /// The colour on a light ground, as `rrggbb`.
    pub(super) light: u32,
    /// The colour on a dark ground.
    pub(super) dark: u32,
    pub(super) marker: Marker,
    /// Lengths of dashes and gaps; a solid line has none.
    pub(super) dashes: &'static [u8],
}

/// The shape of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Cross,
    Diamond,
    DownTriangle,
    HollowCircle,
    HollowSquare,
    HollowTriangle,
    Plus,
    Square,
    Star,
    Triangle,
}

impl Look {
    /// The look of this peer.
    pub(super) fn of_peer(name: &str) -> Self {
        Self::find(&PEERS, name)
    }

    /// The look of this mode.
    pub(super) fn of_mode(name: &str) -> Self {
        Self::find(&MODES, name)
    }

    fn find(looks: &[Self], name: &str) -> Self {
        looks.iter().find(|look| look.name == name).copied().unwrap_or(OTHER)
    }

    /// The legend of a series with this name: a name without a look of its own is shown as it is.
    pub(super) fn label<'n>(&self, name: &'n str) -> &'n str
    where
        Self: 'n,
    {
        if *self == OTHER { name } else { self.label }
    }
}

impl Marker {
    /// True if the ground shows inside it.
    pub(super) const fn is_hollow(self) -> bool {
        matches!(self, Self::HollowCircle | Self::HollowSquare | Self::HollowTriangle)
    }
}

const PEERS: [Look; 10] = [
    look("umacvlan", "umacvlan", 0x0046b0, 0x5ca6ff, Marker::Circle, &[]),
    look(
        "umacvlan-busy",
        "umacvlan, busy polling",
        0x0078d1,
        0x6a79ff,
        Marker::HollowCircle,
        &[2, 2],
    ),
    look("umacvlan-xdp", "umacvlan, AF_XDP", 0x370075, 0x9ed7ff, Marker::Star, &[14, 3]),
    look("kernel", "kernel macvlan", 0xc68400, 0xdbc100, Marker::Square, &[8, 4]),
    look(
        "kernel-hairpin",
        "kernel macvlan, hairpin",
        0x815000,
        0xe8263d,
        Marker::HollowSquare,
        &[8, 3, 2, 3],
    ),
    look("bridge", "Linux bridge", 0x007841, 0x48fe8e, Marker::Triangle, &[4, 3]),
    look("ovs", "Open vSwitch, userspace", 0x600062, 0xfb4dc3, Marker::Diamond, &[12, 3, 3, 3]),
    look("floor", "bare relay (floor)", 0x151515, 0xf1f1f1, Marker::Plus, &[1, 3]),
    look("floor-xdp", "bare relay, AF_XDP", 0x848484, 0x6a6a6a, Marker::Cross, &[1, 6]),
    look("lookup", "bare hash lookup", 0x00493f, 0x00c8ab, Marker::DownTriangle, &[6, 2, 1, 2]),
];

const MODES: [Look; 5] = [
    look("bridge", "bridge", 0x002640, 0xd4ff91, Marker::Circle, &[]),
    look("passthru", "passthru", 0x630092, 0x00e8c9, Marker::Square, &[8, 4]),
    look("private", "private", 0xb60023, 0xf8930b, Marker::Triangle, &[4, 3]),
    look("source", "source", 0x008378, 0x2e86ff, Marker::Diamond, &[12, 3, 3, 3]),
    look("vepa", "vepa", 0xd77b00, 0xcc079a, Marker::HollowCircle, &[2, 2]),
];

/// The look of whatever a later version has named.
const OTHER: Look = look("", "", 0x5a5a5a, 0xa8a8a8, Marker::HollowTriangle, &[3, 2, 3, 6]);

const fn look(
    name: &'static str,
    label: &'static str,
    light: u32,
    dark: u32,
    marker: Marker,
    dashes: &'static [u8],
) -> Look {
    Look { name, label, light, dark, marker, dashes }
}

/// The colours below and around the looks: the ground, and text and axes.
pub(super) const LIGHT_GROUND: u32 = 0xff_ff_ff;
pub(super) const LIGHT_INK: u32 = 0x1f_1f_1f;
pub(super) const DARK_GROUND: u32 = 0x12_12_12;
pub(super) const DARK_INK: u32 = 0xe6_e6_e6;

#[cfg(test)]
mod tests {
    use super::*;

    type Rgb = [f64; 3];
    type Matrix = [[f64; 3]; 3];

    /// Dichromatic vision in linear RGB (Machado, Oliveira and Fernandes, 2009).
    const VISIONS: [(&str, Matrix); 4] = [
        ("all cones", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "protanopia",
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
        ),
        (
            "deuteranopia",
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ],
        ),
        (
            "tritanopia",
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900],
            ],
        ),
    ];

    /// From linear sRGB to XYZ (IEC 61966-2-1), and the white of D65.
    const XYZ: Matrix = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ];
    const WHITE: Rgb = [0.95047, 1.0, 1.08883];

    fn times(matrix: &Matrix, colour: Rgb) -> Rgb {
        matrix.map(|row| row.iter().zip(colour).map(|(factor, part)| factor * part).sum())
    }

    fn linear(colour: u32) -> Rgb {
        [16, 8, 0].map(|shift| {
            let part = f64::from((colour >> shift) & 0xff) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn luminance(colour: u32) -> f64 {
        times(&XYZ, linear(colour))[1]
    }

    /// The contrast ratio of WCAG 2.
    fn contrast(one: u32, other: u32) -> f64 {
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        (one / other).max(other / one)
    }

    /// CIELAB, as this vision has it.
    fn lab(colour: u32, vision: &Matrix) -> Rgb {
        let seen = times(vision, linear(colour)).map(|part| part.clamp(0.0, 1.0));
        let xyz = times(&XYZ, seen);
        let [x, y, z] = [0, 1, 2].map(|at| {
            let part: f64 = xyz[at] / WHITE[at];
            if part > 0.008856 { part.cbrt() } else { 7.787 * part + 16.0 / 116.0 }
        });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn pairs<T: Copy>(all: &[T]) -> Vec<(T, T)> {
        let rest = |(at, one): (usize, &T)| {
            let one = *one;
            all[at + 1..].iter().map(move |other| (one, *other)).collect::<Vec<_>>()
        };
        all.iter().enumerate().flat_map(rest).collect()
    }

    fn peers_and_other() -> Vec<Look> {
        [&PEERS[..], &[OTHER]].concat()
    }

    #[test]
    fn every_colour_stands_out_from_its_ground() {
        for look in peers_and_other().iter().chain(&MODES) {
            assert!(contrast(look.light, LIGHT_GROUND) >= 3.0, "{look:?}");
            assert!(contrast(look.dark, DARK_GROUND) >= 3.0, "{look:?}");
        }
        assert!(contrast(LIGHT_INK, LIGHT_GROUND) >= 7.0);
        assert!(contrast(DARK_INK, DARK_GROUND) >= 7.0);
    }

    #[test]
    fn looks_differ_in_greyscale() {
        let grey = VISIONS[0].1;
        for looks in [&PEERS[..], &MODES] {
            for (one, other) in pairs(looks) {
                for (a, b) in [(one.light, other.light), (one.dark, other.dark)] {
                    let distance = (lab(a, &grey)[0] - lab(b, &grey)[0]).abs();
                    assert!(distance >= 5.0, "{} {}: {distance}", one.name, other.name);
                }
            }
        }
        // Who is compared in nearly every chart.
        let usual = ["umacvlan", "kernel", "bridge", "ovs", "floor"].map(Look::of_peer);
        for (one, other) in pairs(&usual) {
            let distance = (lab(one.light, &grey)[0] - lab(other.light, &grey)[0]).abs();
            assert!(distance >= 10.0, "{} {}: {distance}", one.name, other.name);
        }
    }

    #[test]
    fn looks_differ_for_the_colour_blind() {
        for (vision, matrix) in &VISIONS {
            for looks in [&PEERS[..], &MODES] {
                for (one, other) in pairs(looks) {
                    for (a, b) in [(one.light, other.light), (one.dark, other.dark)] {
                        let (a, b) = (lab(a, matrix), lab(b, matrix));
                        let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
                        let distance = squares.sum::<f64>().sqrt();
                        let names = (one.name, other.name);
                        assert!(distance >= 12.0, "{vision}: {names:?}: {distance}");
                    }
                }
            }
        }
    }

    #[test]
    fn marker_and_dashes_alone_tell_looks_apart() {
        for looks in [&peers_and_other()[..], &MODES] {
            for (one, other) in pairs(looks) {
                assert_ne!(one.marker, other.marker, "{} {}", one.name, other.name);
                assert_ne!(one.dashes, other.dashes, "{} {}", one.name, other.name);
            }
        }
    }

    #[test]
    fn a_name_without_a_look_is_shown_as_it_is() {
        assert_eq!(Look::of_peer("kernel").label("kernel"), "kernel macvlan");
        let later = Look::of_peer("later");
        assert_eq!((later, later.label("later")), (OTHER, "later"));
    }
}
