//! [`Table`]: text in aligned columns.

use std::fmt::Write;

/// Rows below a heading; each column is aligned to the left or to the right.
#[derive(Debug)]
pub struct Table<const N: usize> {
    head: [Head; N],
    rows: Vec<[Cell; N]>,
    /// Columns that are not shown.
    hidden: [bool; N],
}

/// The heading of a column and the alignment of the column.
#[derive(Clone, Copy, Debug)]
pub enum Head {
    /// A column of words.
    Left(&'static str),
    /// A column of numbers.
    Right(&'static str),
}

/// The text of one cell and its colour.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tint: Tint,
}

/// The colour of text on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tint {
    /// Red: an error.
    Bad,
    /// A heading.
    Bold,
    /// Green: success.
    Good,
    /// The terminal's own colour.
    #[default]
    Plain,
    /// Yellow: works, but not as well as it could.
    Warning,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub fn new(head: [Head; N]) -> Self {
        Self { head, rows: Vec::new(), hidden: [false; N] }
    }

    /// Adds a row at the end.
    pub fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// The table without columns in which every cell is empty or says `missing`.
    pub fn without_empty(mut self, missing: &str) -> Self {
        let empty = |cell: &Cell| cell.text.is_empty() || cell.text == missing;
        self.hidden = std::array::from_fn(|column| self.rows.iter().all(|row| empty(&row[column])));
        self
    }

    /// The lines of the table, each with its line feed; empty if there are no rows.
    pub fn render(&self, colour: bool) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let widths: [usize; N] = std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|row| row[column].width());
            cells.fold(self.head[column].text().len(), usize::max)
        });
        let head = self.head.map(|head| Cell { text: head.text().to_owned(), tint: Tint::Bold });
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            self.render_row(row, widths, colour, &mut text);
        }
        text
    }

    fn render_row(&self, row: &[Cell; N], widths: [usize; N], colour: bool, text: &mut String) {
        let mut padding = 0;
        for (column, cell) in row.iter().enumerate().filter(|(column, _)| !self.hidden[*column]) {
            let free = widths[column] - cell.width();
            let (before, after) = match self.head[column] {
                Head::Left(_) => (0, free),
                Head::Right(_) => (free, 0),
            };
            if !cell.text.is_empty() {
                // Padding is written before the next text, so that no line ends in spaces.
                let _ = write!(text, "{:1$}", "", padding + before);
                text.push_str(&cell.tint.paint(&cell.text, colour));
                padding = after + GAP;
            } else {
                padding += free + GAP;
            }
        }
        text.push('\n');
    }
}

impl Head {
    const fn text(self) -> &'static str {
        match self {
            Self::Left(text) | Self::Right(text) => text,
        }
    }
}

impl Cell {
    /// A coloured cell; `text.into()` makes a plain one.
    pub fn new(text: impl Into<String>, tint: Tint) -> Self {
        Self { text: text.into(), tint }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tint::Plain)
    }
}

impl Tint {
    /// The text between the escape sequences of this colour, or as it is without `colour`.
    pub fn paint(self, text: &str, colour: bool) -> String {
        // Select Graphic Rendition of ECMA-48.
        let code = match self {
            _ if !colour => return text.to_owned(),
            Self::Bad => "31",
            Self::Bold => "1",
            Self::Good => "32",
            Self::Plain => return text.to_owned(),
            Self::Warning => "33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Spaces between two columns.
const GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new([Head::Left("name"), Head::Right("frames"), Head::Left("why")]);
        table.push(["a".into(), "12".into(), "".into()]);
        table.push(["longer".into(), "".into(), Cell::new("full", Tint::Bad)]);
        table
    }

    #[test]
    fn columns_are_aligned_and_no_line_ends_in_spaces() {
        let wanted = "name    frames  why\n\
                      a           12\n\
                      longer          full\n";
        assert_eq!(table().render(false), wanted);
    }

    #[test]
    fn columns_without_anything_are_left_out() {
        let mut table = Table::new([Head::Left("a"), Head::Right("b"), Head::Left("c")]);
        table.push(["1".into(), "n/a".into(), "3".into()]);
        table.push(["4".into(), "".into(), "n/a".into()]);
        assert_eq!(table.without_empty("n/a").render(false), "a  c\n1  3\n4  n/a\n");
    }

    #[test]
    fn colour_does_not_change_the_alignment() {
        let coloured = table().render(true);
        assert!(coloured.contains("\x1b[1mname\x1b[0m    \x1b[1mframes"));
        let mut bare = coloured;
        for sign in ["\x1b[1m", "\x1b[31m", "\x1b[0m"] {
            bare = bare.replace(sign, "");
        }
        assert_eq!(bare, table().render(false));
    }

    #[test]
    fn without_rows_there_is_no_heading() {
        assert_eq!(Table::new([Head::Left("name")]).render(true), "");
    }
}
