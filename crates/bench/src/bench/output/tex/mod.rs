//! The report for a paper: figures for pgfplots and tables for LaTeX.

mod figure;
mod tables;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{charts, check_folder, make_folder, write};
use crate::bench::report::Report;

/// The output options for TeX.
#[derive(Args, Clone, Debug)]
pub(super) struct TexArgs {
    /// Write each chart as a figure for pgfplots to this directory, which is made if it is missing,
    /// and figures.tex, a document with all of them
    #[arg(long, value_name = "DIR")]
    pgfplots: Option<PathBuf>,

    /// Write tables of all points for LaTeX (booktabs) to this file
    #[arg(long, value_name = "FILE.tex")]
    latex: Option<PathBuf>,

    /// Width and height of the figures of --pgfplots, in centimetres
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "12x7")]
    tex_size: Size,

    /// Size of the font in figures and tables
    #[arg(long, value_name = "SIZE", default_value = "footnotesize")]
    tex_font: Font,

    /// Begin the captions of figures and tables with this
    #[arg(long, value_name = "TEXT")]
    tex_caption: Option<String>,
}

/// The size of a figure, in centimetres.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    width: f64,
    height: f64,
}

/// A size of LaTeX's fonts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Font {
    Tiny,
    Scriptsize,
    Footnotesize,
    Small,
    Normalsize,
}

impl TexArgs {
    /// Checks before the measurement that the files can be written.
    ///
    /// # Errors
    /// The directory of the tables is missing, or the one for figures cannot be made.
    pub(super) fn check(&self) -> Result<()> {
        self.pgfplots.iter().try_for_each(|folder| make_folder(folder))?;
        self.latex.iter().try_for_each(|file| check_folder(file))
    }

    /// Writes what the options request.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write(&self, report: &Report) -> Result<()> {
        if let Some(folder) = &self.pgfplots {
            self.write_figures(folder, report)?;
        }
        if let Some(file) = &self.latex {
            write(file, &tables::render(report, self.tex_font, self.caption()))?;
        }
        Ok(())
    }

    fn write_figures(&self, folder: &Path, report: &Report) -> Result<()> {
        make_folder(folder)?;
        let charts = charts::of(report);
        for chart in &charts {
            let text = figure::render(chart, self.tex_size, self.tex_font);
            write(&folder.join(format!("{}.tex", chart.name)), &text)?;
        }
        write(&folder.join("figures.tex"), &figure::document(&charts, self.caption()))
    }

    fn caption(&self) -> Option<&str> {
        self.tex_caption.as_deref()
    }
}

impl Font {
    /// The command that selects it.
    fn command(self) -> String {
        // No size is hidden, so each has a value.
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        format!("\\{}", name.unwrap_or_default())
    }

    /// Its height in points, in a document of 10 pt.
    const fn points(self) -> f64 {
        match self {
            Self::Tiny => 5.0,
            Self::Scriptsize => 7.0,
            Self::Footnotesize => 8.0,
            Self::Small => 9.0,
            Self::Normalsize => 10.0,
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let length = |text: &str| text.parse().ok().filter(|length| (4.0..=40.0).contains(length));
        let found = text.split_once('x').and_then(|(width, height)| {
            Some(Self { width: length(width)?, height: length(height)? })
        });
        found.ok_or_else(|| "a size is WIDTHxHEIGHT, each 4 to 40 centimetres: 8.5x6".to_owned())
    }
}

/// Text as TeX shows it. Characters beyond ASCII that no font of every document has are shown as
/// question marks.
fn escape(text: &str) -> String {
    let letter = |c: char| match c {
        '\\' => "\\textbackslash{}".to_owned(),
        '~' => "\\textasciitilde{}".to_owned(),
        '^' => "\\textasciicircum{}".to_owned(),
        '<' => "\\textless{}".to_owned(),
        '>' => "\\textgreater{}".to_owned(),
        '|' => "\\textbar{}".to_owned(),
        '"' => "''".to_owned(),
        'µ' => "\\textmu{}".to_owned(),
        '#' | '$' | '%' | '&' | '_' | '{' | '}' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        c if c.is_whitespace() => " ".to_owned(),
        _ => "?".to_owned(),
    };
    let text: String = text.chars().map(letter).collect();
    // Two hyphens would be a dash.
    text.replace("--", "-{}-")
}

/// A caption, which begins with the user's text if there is one.
fn caption(begin: Option<&str>, rest: &str) -> String {
    match begin {
        Some(begin) => format!("{}: {}", escape(begin.trim()), escape(rest)),
        None => escape(rest),
    }
}

#[cfg(test)]
mod tests;
