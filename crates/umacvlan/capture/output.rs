//! [`CaptureOutput`]: what is written about captured frames: lines for people, JSON, or pcapng.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::summary;
use umacvlan_api::{CapturePoint, CaptureView, CapturedFrame, FrameFate};
use umacvlan_offline::pcapng::{self, Direction, Packet};
use umacvlan_text::output::print_stderr;

/// The form of the output.
pub(super) enum Form {
    Json,
    Pcapng(PcapngWriter),
    Text,
}

impl Form {
    /// pcapng, into a file, or to standard output for `-`.
    pub(super) fn pcapng(path: &Path) -> Result<Self> {
        if path == Path::new("-") && io::stdout().is_terminal() {
            bail!("pcapng is no text for a terminal: give a file, or leave out -w");
        }
        Ok(Self::Pcapng(PcapngWriter::new(path)))
    }
}

/// Writes frames as they come.
pub(super) struct CaptureOutput {
    form: Form,
    /// Frames after which it ends.
    count: Option<u64>,
    frames: u64,
    left_out: u64,
    begun: bool,
    /// Why the daemon has ended the capture.
    ended: Option<String>,
    /// The frames that are to be written, as text.
    text: String,
}

impl CaptureOutput {
    pub(super) fn new(form: Form, count: Option<u64>) -> Self {
        let (frames, left_out, begun, ended, text) = Default::default();
        Self { form, count, frames, left_out, begun, ended, text }
    }

    /// Takes lines of the daemon, and breaks when no more are wanted.
    ///
    /// # Errors
    /// They cannot be written, or are not of a capture.
    pub(super) fn lines(&mut self, lines: &str) -> Result<ControlFlow<()>> {
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let view = serde_json::from_str(line)
                .context("the answer is not understood, is the daemon of another version?")?;
            if matches!(self.form, Form::Json) {
                self.text.push_str(line);
                self.text.push('\n');
            }
            if self.view(view)?.is_break() {
                self.flush()?;
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(if self.flush()? { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    fn view(&mut self, view: CaptureView) -> Result<ControlFlow<()>> {
        match view {
            CaptureView::Started { parent, link, in_kernel } => {
                if let Form::Pcapng(pcapng) = &mut self.form {
                    pcapng.begin(&parent)?;
                }
                self.begun = true;
                let dev = link.unwrap_or_else(|| format!("parent {parent}"));
                print_stderr(&format!("capturing on {dev}, Ctrl-C ends it"));
                if !in_kernel.is_empty() {
                    print_stderr(&format!(
                        "the daemon forwards for {} meanwhile, and the kernel again afterwards (port \
                         veth)",
                        in_kernel.join(", ")
                    ));
                }
            }
            CaptureView::Frame(frame) => {
                self.frames += 1;
                let bytes = hex_bytes(&frame.frame).context("the daemon has sent half a byte")?;
                match &mut self.form {
                    Form::Json => {}
                    Form::Pcapng(pcapng) => pcapng.frame(&frame, &bytes),
                    Form::Text => self.text.push_str(&line(&frame, &bytes)),
                }
                if self.count == Some(self.frames) {
                    return Ok(ControlFlow::Break(()));
                }
            }
            CaptureView::LeftOut { count } => self.left_out = count,
            CaptureView::Ended { why } => {
                self.ended = Some(why);
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Writes what has come. False if nobody reads it any more.
    fn flush(&mut self) -> Result<bool> {
        let written = match &mut self.form {
            Form::Pcapng(pcapng) => pcapng.flush(),
            Form::Json | Form::Text => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(self.text.as_bytes()).and_then(|()| stdout.flush())
            }
        };
        self.text.clear();
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.context("cannot write the capture").map(|()| true),
        }
    }

    /// Why the daemon has ended the capture, if it has.
    pub(super) fn failure(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Completes the output and prints the counts, unless the daemon has refused the capture.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn end(&mut self) -> Result<()> {
        if !self.begun {
            return Ok(());
        }
        if let Form::Pcapng(pcapng) = &mut self.form {
            pcapng.end(self.frames, self.left_out);
        }
        self.flush()?;
        let count = |frames| format!("{frames} frame{}", if frames == 1 { "" } else { "s" });
        let left_out = match self.left_out {
            0 => String::new(),
            frames => format!(", {} left out: they came faster than they were read", count(frames)),
        };
        print_stderr(&format!("{}{left_out}", count(self.frames)));
        Ok(())
    }
}

/// Writes pcapng: an interface for the parent, and one for each link that has had a frame.
pub(super) struct PcapngWriter {
    path: PathBuf,
    /// Opened when the daemon has begun: a refused capture leaves the file as it was.
    file: Option<BufWriter<Box<dyn Write + Send>>>,
    buffer: Vec<u8>,
    links: HashMap<String, u32>,
    /// The time of the last frame.
    time: u64,
}

impl PcapngWriter {
    fn new(path: &Path) -> Self {
        let (file, buffer, links, time) = Default::default();
        Self { path: path.to_owned(), file, buffer, links, time }
    }

    fn begin(&mut self, parent: &str) -> Result<()> {
        let file: Box<dyn Write + Send> = match self.path == Path::new("-") {
            true => Box::new(io::stdout()),
            false => {
                let failed = || format!("cannot write {}", self.path.display());
                Box::new(File::create(&self.path).with_context(failed)?)
            }
        };
        self.file = Some(BufWriter::new(file));
        pcapng::section(&mut self.buffer);
        pcapng::interface_block(&mut self.buffer, parent);
        Ok(())
    }

    fn frame(&mut self, frame: &CapturedFrame, bytes: &[u8]) {
        self.time = frame.time_ns;
        let (is_link, direction) = match frame.at {
            CapturePoint::FromLink => (true, Direction::Outbound),
            CapturePoint::FromWire => (false, Direction::Inbound),
            CapturePoint::ToLink => (true, Direction::Inbound),
            CapturePoint::ToWire => (false, Direction::Outbound),
        };
        let interface = match &frame.link {
            Some(link) if is_link => self.link(link),
            _ => 0,
        };
        let packet = Packet {
            interface,
            time: frame.time_ns,
            length: usize::try_from(frame.len).unwrap_or(usize::MAX).max(bytes.len()),
            bytes,
            direction: Some(direction),
            comment: &outcome(frame),
        };
        pcapng::packet(&mut self.buffer, packet);
    }

    /// The number of the interface of a link, which is described before its first frame.
    fn link(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.links.get(name) {
            return number;
        }
        let number = u32::try_from(self.links.len() + 1).unwrap_or(u32::MAX);
        pcapng::interface_block(&mut self.buffer, name);
        self.links.insert(name.to_owned(), number);
        number
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let written = file.write_all(&self.buffer).and_then(|()| file.flush());
        self.buffer.clear();
        written
    }

    /// Appends the counts, which are those of the whole capture, for the parent.
    fn end(&mut self, frames: u64, left_out: u64) {
        pcapng::statistics(&mut self.buffer, 0, self.time, frames + left_out, left_out);
    }
}

/// A frame as a line of text.
fn line(frame: &CapturedFrame, bytes: &[u8]) -> String {
    let time = i128::from(frame.time_ns);
    // A time outside of the calendar is shown as 1970.
    let time = Timestamp::from_nanosecond(time).unwrap_or_default().to_zoned(TimeZone::system());
    let what = match bytes {
        [] => "not at hand any more".to_owned(),
        bytes => summary::of(bytes),
    };
    format!(
        "{} {:<21} {:<20} {what}, {} bytes\n",
        time.strftime("%H:%M:%S.%6f"),
        place(frame),
        fate(frame),
        frame.len
    )
}

/// Where a frame is, and what becomes of it.
pub(crate) fn outcome(frame: &CapturedFrame) -> String {
    format!("{}: {}", place(frame), fate(frame))
}

/// Where a frame is captured.
fn place(frame: &CapturedFrame) -> String {
    let link = frame.link.as_deref();
    match (frame.at, link) {
        (CapturePoint::FromLink, link) => format!("from {}", link.unwrap_or("?")),
        (CapturePoint::FromWire, _) => "from wire".to_owned(),
        (CapturePoint::ToLink, link) => format!("to {}", link.unwrap_or("?")),
        (CapturePoint::ToWire, Some(link)) => format!("to wire, of {link}"),
        (CapturePoint::ToWire, None) => "to wire".to_owned(),
    }
}

/// What becomes of a frame.
fn fate(frame: &CapturedFrame) -> String {
    match (frame.fate, &frame.to, frame.at) {
        (FrameFate::Deliver, Some(to), _) => format!("> {to}"),
        (FrameFate::Deliver, None, _) => "> a link".to_owned(),
        (FrameFate::Drop, ..) => {
            format!("dropped: {}", frame.reason.as_deref().unwrap_or("unknown"))
        }
        (FrameFate::Flood, _, CapturePoint::FromWire) => "> links and host".to_owned(),
        (FrameFate::Flood, ..) => "> links and wire".to_owned(),
        (FrameFate::Host, ..) => "> host".to_owned(),
        (FrameFate::Send, ..) => "queued".to_owned(),
        (FrameFate::Wait, ..) => "waits for its limit".to_owned(),
        (FrameFate::Wire, ..) => "> wire".to_owned(),
    }
}

/// The bytes of hexadecimal digits.
pub(crate) fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |sign: u8| char::from(sign).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use pcap_parser::traits::PcapReaderIterator;
    use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};

    use super::*;

    fn frame(at: CapturePoint, link: Option<&str>, fate: FrameFate) -> CapturedFrame {
        CapturedFrame {
            time_ns: 1_795_260_189_000_000_007,
            at,
            link: link.map(str::to_owned),
            fate,
            to: (fate == FrameFate::Deliver).then(|| "red/b".to_owned()),
            reason: (fate == FrameFate::Drop).then(|| "spoofed".to_owned()),
            len: 60,
            frame: "0200000000020200000000010806".to_owned(),
        }
    }

    /// What a reader of pcapng finds: names of interfaces, packets, and the counts of the end.
    type Found = (Vec<String>, Vec<(u32, String, u32)>, Vec<u64>);

    fn read(file: &[u8]) -> Found {
        let (mut names, mut packets, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let mut reader = PcapNGReader::new(65536, file).unwrap();
        loop {
            let text =
                |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
            match reader.next() {
                Ok((used, block)) => {
                    if let PcapBlockOwned::NG(block) = block {
                        match block {
                            Block::InterfaceDescription(it) => {
                                names.extend(
                                    it.options
                                        .iter()
                                        .filter(|it| it.code.0 == 2)
                                        .map(|it| text(&it.value)),
                                );
                            }
                            Block::EnhancedPacket(it) => {
                                let option =
                                    |code| it.options.iter().find(move |it| it.code.0 == code);
                                let comment = text(&option(1).unwrap().value);
                                let flags = u32::from(option(2).unwrap().value[0]);
                                packets.push((it.if_id, comment, flags));
                                assert_eq!((it.caplen, it.origlen), (14, 60));
                            }
                            Block::InterfaceStatistics(it) => {
                                let counts_of =
                                    it.options.iter().filter(|it| [4, 5].contains(&it.code.0));
                                counts.extend(counts_of.map(|it| u64::from(it.value[0])));
                            }
                            _ => {}
                        }
                    }
                    reader.consume(used);
                }
                Err(PcapError::Eof) => return (names, packets, counts),
                Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn pcapng_has_an_interface_for_each_place_and_a_verdict_for_each_frame() {
        let mut writer = PcapngWriter::new(Path::new("-"));
        writer.begin("eth0").unwrap();
        let bytes = hex_bytes("0200000000020200000000010806").unwrap();
        for seen in [
            frame(CapturePoint::FromWire, None, FrameFate::Deliver),
            frame(CapturePoint::FromLink, Some("red/a"), FrameFate::Drop),
            frame(CapturePoint::ToLink, Some("red/b"), FrameFate::Send),
            frame(CapturePoint::FromLink, Some("red/a"), FrameFate::Flood),
            frame(CapturePoint::ToWire, Some("red/a"), FrameFate::Send),
        ] {
            writer.frame(&seen, &bytes);
        }
        writer.end(5, 2);
        let (names, packets, counts) = read(&writer.buffer);
        assert_eq!(names, ["eth0", "red/a", "red/b"]);
        let packet = |number, text: &str, flags| (number, text.to_owned(), flags);
        assert_eq!(
            packets,
            [
                packet(0, "from wire: > red/b", 1),
                packet(1, "from red/a: dropped: spoofed", 2),
                packet(2, "to red/b: queued", 1),
                packet(1, "from red/a: > links and wire", 2),
                packet(0, "to wire, of red/a: queued", 2),
            ]
        );
        assert_eq!(counts, [7, 2]);
    }

    #[test]
    fn a_line_says_where_what_and_which_frame() {
        let seen = frame(CapturePoint::FromLink, Some("a"), FrameFate::Drop);
        let arp = hex_bytes(&format!(
            "ffffffffffff020000000001080600010800060400010200000000010a000001{}0a000002",
            "00".repeat(6)
        ));
        let text = line(&seen, &arp.unwrap());
        let (_, rest) = text.split_once(' ').unwrap();
        assert_eq!(
            rest,
            "from a                dropped: spoofed     02:00:00:00:00:01 > broadcast, arp who has \
             10.0.0.2, asks 10.0.0.1, 60 bytes\n"
        );
        assert!(line(&seen, &[]).contains("not at hand"));
        assert!(line(&seen, &[1; 13]).contains("a part of a frame"));
        let odd = line(&seen, &hex_bytes("02000000000202000000000188b5").unwrap());
        assert!(odd.contains("ethertype 0x88b5"), "{odd}");
        assert_eq!(hex_bytes("0"), None);
        assert_eq!(hex_bytes("zz"), None);
    }

    #[test]
    fn a_capture_ends_after_its_count_and_with_the_reason_of_the_daemon() {
        let started = r#"{"event":"started","parent":"p","link":null,"in_kernel":[]}"#;
        let seen = CaptureView::Frame(frame(CapturePoint::FromWire, None, FrameFate::Host));
        let seen = serde_json::to_string(&seen).unwrap();
        let mut output =
            CaptureOutput::new(Form::Pcapng(PcapngWriter::new(Path::new("/dev/null"))), Some(2));
        assert!(output.lines(&format!("{started}\n\n{seen}\n")).unwrap().is_continue());
        assert!(output.lines(&format!("{seen}\n{seen}\n")).unwrap().is_break());
        assert_eq!((output.frames, output.failure()), (2, None));
        let mut output =
            CaptureOutput::new(Form::Pcapng(PcapngWriter::new(Path::new("/dev/null"))), None);
        let ended = r#"{"event":"ended","why":"the parent is gone"}"#;
        assert!(output.lines(&format!("{started}\n{ended}\n")).unwrap().is_break());
        assert_eq!(output.failure(), Some("the parent is gone"));
        assert!(output.lines("nonsense\n").is_err());
    }
}
