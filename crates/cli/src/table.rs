//! Tables as kubectl prints them: left-aligned columns, three spaces apart, nothing around them.

/// A table of text.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

const SPACES_BETWEEN: usize = 3;

impl Table {
    /// A table with these column titles.
    pub(crate) fn new<T: Into<String>>(titles: impl IntoIterator<Item = T>) -> Self {
        Self { rows: vec![titles.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row; an empty cell shows as `<none>`.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| clean(cell.into())).collect();
        self.rows.push(cells);
    }

    /// The lines of the table.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|i| self.rows.iter().filter_map(|row| row.get(i)).map(|c| width(c)).max())
            .map(|widest| widest.unwrap_or(0) + SPACES_BETWEEN)
            .collect();
        self.rows.iter().map(move |row| {
            let mut line = String::new();
            for (i, cell) in row.iter().enumerate() {
                line.push_str(cell);
                if i + 1 < row.len() {
                    line.extend(std::iter::repeat_n(' ', widths[i] - width(cell)));
                }
            }
            line
        })
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// One line and no control characters: a recorded text must not be able to move the cursor.
fn clean(cell: String) -> String {
    if cell.is_empty() {
        return String::from("<none>");
    }
    if cell.chars().any(char::is_control) {
        return cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_are_taken_out() {
        let mut table = Table::new(["NAME", "AGE"]);
        table.row(["web-7c", "5m"]);
        table.row(["x\u{1b}[2J\ny", ""]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines, ["NAME      AGE", "web-7c    5m", "x [2J y   <none>"]);
    }
}
