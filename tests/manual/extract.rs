//! Commands in documentation: the `sh` blocks of Markdown, the marked examples of man pages.

/// A block of commands, as a reader would copy it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// Number of its first line, from 1.
    pub(crate) number: usize,
    /// Its lines, without a change.
    pub(crate) text: String,
}

/// The blocks below one heading. Later blocks use the results of earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

/// Marks an example of a man page that is to be run.
const SHELL: &str = ".\\\" shell";

/// The blocks of a file, whose format follows from its name.
pub(crate) fn sections(name: &str, text: &str) -> Vec<Section> {
    let mut sections = match name.ends_with(".md") {
        true => markdown(text),
        false => manual(text),
    };
    sections.retain(|section| !section.blocks.is_empty());
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
            (None, Some(language)) => {
                block = Some(language);
                if language == "sh" {
                    begin(&mut sections, number + 1);
                }
            }
            (Some(_), Some(_)) => block = None,
            (Some("sh"), None) => push(&mut sections, line),
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
            ".EX" if marked => {
                inside = true;
                begin(&mut sections, number + 1);
            }
            ".EE" => (inside, marked) = (false, false),
            _ if inside => push(&mut sections, &plain(line)),
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
        sections.push(Section { title: title.to_owned(), blocks: Vec::new() });
    }
}

fn begin(sections: &mut [Section], number: usize) {
    if let Some(section) = sections.last_mut() {
        section.blocks.push(Block { number, text: String::new() });
    }
}

fn push(sections: &mut [Section], line: &str) {
    if let Some(block) = sections.last_mut().and_then(|section| section.blocks.last_mut()) {
        block.text.push_str(line);
        block.text.push('\n');
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
            .map(|section| section.blocks.iter().map(|block| block.text.as_str()).collect())
            .collect()
    }

    #[test]
    fn shell_blocks_of_markdown_are_taken_by_heading_and_as_they_are() {
        let text = "# T\n\n## A\n```sh\none\n# no\ntwo \\\n  more\n```\n```text\nnot\n```\n\
                    ## B\n## C\n```sh\nthree # yes\n```\n```sh\nfour\n```\n";
        let sections = sections("x.md", text);
        let expected = [vec!["one\n# no\ntwo \\\n  more\n"], vec!["three # yes\n", "four\n"]];
        assert_eq!(texts(&sections), expected);
        assert_eq!((sections[0].title.as_str(), sections[0].blocks[0].number), ("A", 5));
    }

    #[test]
    fn marked_examples_of_man_pages_are_taken() {
        let text = ".SH A\n.EX\nnot\n.EE\n.\\\" shell\n.EX\nip \\-j link\n.EE\n.EX\nnot\n.EE\n";
        assert_eq!(texts(&sections("x.8", text)), [["ip -j link\n"]]);
    }

    #[test]
    fn commands_without_a_mark_are_found() {
        let text = ".EX\numacvlan a\n.EE\n.\\\" shell\n.EX\numacvlan b\n.EE\n.EX\nx = 1\n.EE\n";
        assert_eq!(unmarked(text), [2]);
    }
}
