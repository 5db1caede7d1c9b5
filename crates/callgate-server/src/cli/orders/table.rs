//! Rows of text in columns.

use super::super::output::say;

/// Headings, and rows of as many cells. An empty table prints nothing.
#[derive(Debug, Default)]
pub(in super::super) struct Columns {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    pub(in super::super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(in super::super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(self.headings.get(column).map_or(0, |heading| heading.len()))
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let headings: Vec<String> =
            self.headings.iter().map(|&heading| heading.to_owned()).collect();
        let all = std::iter::once(&headings).chain(&self.rows);
        all.map(|cells| line(cells)).collect()
    }
}

/// Prints the columns.
pub(in super::super) fn print_table(columns: &Columns) {
    if !columns.rows.is_empty() {
        columns.lines().iter().for_each(say);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut columns = Columns::new(&["USER", "CID"]);
        columns.push(vec!["alice".to_owned(), "7".to_owned()]);
        columns.push(vec!["ü".to_owned(), "28113".to_owned()]);
        assert_eq!(columns.lines(), ["USER   CID", "alice  7", "ü      28113"]);
    }
}
