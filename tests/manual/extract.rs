//! Commands in documentation: the `sh` blocks of Markdown, the marked examples of man pages.

/// One command as a reader would type it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Line number, from 1.
    pub(crate) number: usize,
    /// The command, with continuation lines joined.
    pub(crate) text: String,
}

/// The commands below one heading. Later commands use the results of earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
}

/// Marks an example of a man page that is to be run.
const SHELL: &str = ".\\\" shell";

/// The commands of a file, whose format follows from its name.
pub(crate) fn sections(name: &str, text: &str) -> Vec<Section> {
    let mut sections = match name.ends_with(".md") {
        true => markdown(text),
        false => manual(text),
    };
    sections.retain(|section| !section.lines.is_empty());
    sections
}

/// Numbers of lines that look like umacvlan commands in unmarked examples.
pub(crate) fn unmarked(text: &str) -> Vec<usize> {
    let (mut inside, mut marked) = (false, false);
    let mut found = Vec::new();
    for (number, line) in numbered(text) {
        match line {
            SHELL => marked = true,
            ".EX" => inside = true,
            ".EE" => (inside, marked) = (false, false),
            _ if inside && !marked && line.starts_with("umacvlan ") => found.push(number),
            _ => {}
        }
    }
    found
}

fn markdown(text: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut block: Option<&str> = None;
    for (number, line) in numbered(text) {
        match (block, line.strip_prefix("```")) {
            (None, Some(language)) => block = Some(language),
            (Some(_), Some(_)) => block = None,
            (Some("sh"), None) => push(&mut sections, number, line.to_owned()),
            (Some(_), None) => {}
            (None, None) => head(&mut sections, line.strip_prefix("## ")),
        }
    }
    sections
}

fn manual(text: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let (mut inside, mut marked) = (false, false);
    for (number, line) in numbered(text) {
        match line {
            SHELL => marked = true,
            ".EX" => inside = marked,
            ".EE" => (inside, marked) = (false, false),
            _ if inside => push(&mut sections, number, plain(line)),
            _ => head(&mut sections, line.strip_prefix(".SH ")),
        }
    }
    sections
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

fn head(sections: &mut Vec<Section>, title: Option<&str>) {
    if let Some(title) = title {
        sections.push(Section { title: title.to_owned(), lines: Vec::new() });
    }
}

fn push(sections: &mut [Section], number: usize, text: String) {
    let Some(section) = sections.last_mut() else {
        return;
    };
    if let Some(before) = section.lines.last_mut()
        && let Some(begun) = before.text.strip_suffix('\\')
    {
        before.text = format!("{begun}{}", text.trim_start());
    } else {
        // No example has this sign in quotes.
        let text = text.split("# ").next().unwrap_or_default().trim_end().to_owned();
        if !text.trim().is_empty() {
            section.lines.push(Line { number, text });
        }
    }
}

/// A line of a man page as it is printed.
fn plain(line: &str) -> String {
    line.replace("\\-", "-").replace("\\(dq", "\"").replace("\\e", "\\").replace("\\&", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sections: &[Section]) -> Vec<Vec<&str>> {
        sections
            .iter()
            .map(|section| section.lines.iter().map(|line| line.text.as_str()).collect())
            .collect()
    }

    #[test]
    fn shell_blocks_of_markdown_are_taken_by_heading() {
        let text = "# T\n\n## A\n```sh\none\n# no\ntwo \\\n  more\n```\n```text\nnot\n```\n\
                    ## B\n## C\n```sh\nthree # yes\n```\n";
        let sections = sections("x.md", text);
        assert_eq!(texts(&sections), [vec!["one", "two more"], vec!["three"]]);
        assert_eq!((sections[0].title.as_str(), sections[0].lines[1].number), ("A", 7));
    }

    #[test]
    fn marked_examples_of_man_pages_are_taken() {
        let text = ".SH A\n.EX\nnot\n.EE\n.\\\" shell\n.EX\nip \\-j link\n.EE\n.EX\nnot\n.EE\n";
        assert_eq!(texts(&sections("x.8", text)), [["ip -j link"]]);
    }

    #[test]
    fn commands_without_a_mark_are_found() {
        let text = ".EX\numacvlan a\n.EE\n.\\\" shell\n.EX\numacvlan b\n.EE\n.EX\nx = 1\n.EE\n";
        assert_eq!(unmarked(text), [2]);
    }
}
