//! Tables as text for people, as Markdown and as CSV.

use super::Result;
use super::images::row;
use comfy_table::{CellAlignment, ContentArrangement, presets};

/// Heading of a column.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Words, aligned to the left.
    Words(&'static str),
    /// Numbers, aligned to the right; their unit is in the heading.
    Numbers(&'static str),
}

/// Rows of cells below headings.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Column {
    fn heading(self) -> String {
        let (Column::Words(heading) | Column::Numbers(heading)) = self;
        heading.to_owned()
    }
}

impl Table {
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Table {
        Table { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub fn add(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    /// Returns lines without borders, wrapped to the width of the terminal if there is one.
    pub fn text(&self) -> String {
        let mut table = self.aligned();
        table.load_preset(presets::NOTHING);
        if let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size() {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        table.trim_fmt() + "\n"
    }

    pub fn markdown(&self) -> String {
        let mut table = self.aligned();
        table.load_preset(presets::ASCII_MARKDOWN);
        format!("{table}\n")
    }

    pub fn csv(&self) -> Result<String> {
        let lines = std::iter::once(self.headings()).chain(self.rows.clone()).map(row).collect::<Result<Vec<_>>>()?;
        Ok(lines.join("\n") + "\n")
    }

    fn headings(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.heading()).collect()
    }

    fn aligned(&self) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.set_header(self.headings()).add_rows(&self.rows);
        for (column, laid_out) in self.columns.iter().zip(table.column_iter_mut()) {
            if let Column::Numbers(_) = column {
                laid_out.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_numbers_and_quote_cells() {
        let mut table = Table::new([Column::Words("name"), Column::Numbers("ms")]);
        table.add(["a, b".to_owned(), "1.5".to_owned()]);
        table.add(["c".to_owned(), "10.25".to_owned()]);
        assert_eq!(table.text(), "name     ms\na, b    1.5\nc     10.25\n");
        assert_eq!(table.csv().expect("a table"), "name,ms\n\"a, b\",1.5\nc,10.25\n");
        assert_eq!(table.markdown(), "| name |    ms |\n|------|-------|\n| a, b |   1.5 |\n| c    | 10.25 |\n");
    }
}
